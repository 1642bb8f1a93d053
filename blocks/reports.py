"""What a run did, put together from its shards and its ledger: the one source of every count that is shown."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.sql.catalog import Catalog
from blocks.waiting import Scene
from collectors.closing import Closing
from collectors.errors import in_a_line, parted
from collectors.quality import Finding
from collectors.quarantine import TOO_MANY
from collectors.selecting import Selection
from collectors.states import OPEN_RUNS, PAUSING, RunState, ShardState


@dataclass(frozen=True, slots=True)
class Report:
    run_id: str
    collection: str
    state: str
    shown: str  # the state, as long as it does not follow what is desired
    waiting_for: str | None
    mode: str
    records: dict[str, int]
    open_batches: int  # read, and not in every store yet
    notices: tuple[str, ...]
    findings: tuple[Finding, ...]
    superseded: int  # of those that count as unchanged: older than, or in one batch with, a newer one of the same id
    total: int | None  # the estimates, or what was found where that is more; None where they are of more than the range
    stage: str | None  # the first one that has not ended
    shards: dict[str, int]  # how many are in each state, as it is shown
    troubles: tuple[dict[str, Any], ...]  # shards with an error
    reasons: dict[str, int]
    seconds: float
    delays: dict[str, float]  # percentiles of the seconds from a page's arrival to all stores; only where asked for
    error: str | None
    flow_run_id: str | None
    placement: str | None
    placement_reason: str | None

    @property
    def rate(self) -> float:
        """Records a second, from the first request to the source until the last batch was done."""
        return self.records["fetched"] / self.seconds if self.seconds else 0.0

    @property
    def percent(self) -> float:
        return 100.0 * self.records["fetched"] / self.total if self.total else 0.0

    @property
    def phase(self) -> str:
        """What is being done now: planning, the stage that is read, loading, closing, or nothing any more."""
        if self.state not in OPEN_RUNS:
            return "ended"
        if not self.shards:
            return "planning"
        return self.stage or ("loading" if self.open_batches else "closing")

    @property
    def loaded(self) -> int:
        """Records that are in the stores, those of which a newer version is there included."""
        return sum(self.records[verdict] for verdict in ("new", "changed", "unchanged", "regressed", "deleted"))


def report(catalog: Catalog, run_id: str, with_delays: bool = False) -> Report:
    run, applied = catalog.run(run_id), catalog.applied(run_id)
    closing = Closing.model_validate_json(run["closing"] or "{}")
    selection = Selection.model_validate_json(run["selection"] or "{}")
    scene = _scene(catalog, run)
    standings = catalog.standings(run_id, scene.now)
    seen = scene.of_run(catalog.seconds_held(run_id) > 0)
    quarantined = sum(each["quarantined"] for each in standings)
    return Report(
        run_id=run_id,
        collection=run["collection"],
        state=run["state"],
        shown=seen.state,
        waiting_for=seen.waiting_for,
        mode=run["mode"],
        records={
            "fetched": sum(each["fetched"] for each in standings),
            "new": applied["new"],
            "changed": applied["changed"],
            "unchanged": applied["unchanged"] + applied["superseded"],
            "regressed": applied["regressed"],
            "quarantined": quarantined,
            "deleted": applied["deleted"] + closing.deleted,
        },
        open_batches=applied["open_batches"],
        notices=tuple(filter(None, (in_a_line(selection.note), *map(in_a_line, closing.notices)))),
        findings=closing.findings,
        superseded=applied["superseded"],
        total=_total(selection, standings),
        stage=scene.stage,
        shards=_counted(standings, scene),
        troubles=tuple(each | {"error": in_a_line(each["error"])} for each in catalog.troubles(run_id)),
        reasons={each["reason"]: each["count"] for each in catalog.refusals(run_id)} if quarantined else {},
        seconds=_took(run, applied["done_at"], scene.now),
        delays=catalog.delays(run_id) if with_delays else {},
        error=in_a_line(run["error"]),
        flow_run_id=run["flow_run_id"],
        placement=run["placement"],
        placement_reason=run["placement_reason"],
    )


def again(done: Report) -> str:
    """The command that goes on with a run: what was interrupted is resumed, what has ended is done over."""
    if done.state in OPEN_RUNS:
        return f"collect resume {done.run_id}"
    too_many = parted(done.error or "")[0] == TOO_MANY  # what was refused is read again by nothing less than all
    return f"collect retry {done.run_id}{' --scope all' if too_many else ''}"


def as_json(done: Report) -> dict[str, Any]:
    """The shape `collect run --json` prints."""
    return {
        "run_id": done.run_id,
        "collection": done.collection,
        "state": done.state,
        "mode": done.mode,
        "records": done.records,
        "shards": done.shards,
        "seconds": round(done.seconds, 3),
        "rate": round(done.rate, 1),
        "delays": {name: round(seconds, 3) for name, seconds in done.delays.items()},
        "error": done.error,
        "notices": list(done.notices),
        "quality": [finding.model_dump() for finding in done.findings],
    }


def status_of(catalog: Catalog, row: dict[str, Any], done: Report) -> dict[str, Any]:
    """The shape of `collect status RUN --json`, and of the service."""
    records = done.records
    return {
        "run_id": done.run_id,
        "collection": done.collection,
        "state": done.shown,
        "mode": done.mode,
        "reason": row["reason"],
        "waiting_for": done.waiting_for,
        "progress": {
            "total": done.total,
            "current": records["fetched"],
            "success": done.loaded,
            "failure": records["quarantined"],
            "phase": done.phase,
        },
        "records": records,
        "shards": done.shards,
        "notices": list(done.notices),
        "quality": [finding.model_dump() for finding in done.findings],
        "errors": [error for error in (done.error, *(shard["error"] for shard in done.troubles)) if error],
        "seconds": round(done.seconds, 3),
        "created_at": moment(row["created_at"]),
        "ended_at": moment(row["ended_at"]),
        "flow_run_id": done.flow_run_id,
        "placement": done.placement,
        "placement_reason": done.placement_reason,
    }


def run_of(row: dict[str, Any]) -> dict[str, Any]:
    """A run in a list of the service: what stands in its row."""
    return {
        "run_id": row["run_id"],
        "collection": row["collection"],
        "state": row["state"],
        "mode": row["mode"],
        "created_at": moment(row["created_at"]),
        "ended_at": moment(row["ended_at"]),
        "error": in_a_line(row["error"]),
    }


def shard_of(catalog: Catalog, run_id: str, shard_id: str) -> dict[str, Any]:
    """One of `shards_of`. Raises Misconfigured when it is not there."""
    scene = _scene(catalog, catalog.run(run_id))
    return _shard(catalog.shard(run_id, shard_id), scene)


def shards_of(catalog: Catalog, run_id: str) -> list[dict[str, Any]]:
    """The shape of `collect shards RUN --json`, and of the service; in the order of the plan."""
    scene = _scene(catalog, catalog.run(run_id))
    return [_shard(row, scene) for row in catalog.shards(run_id)]


def refused_of(each: dict[str, Any]) -> dict[str, Any]:
    """The shape of `collect quarantine --json`, and of the service."""
    told = {"payload": each["payload"].decode(errors="replace"), "created_at": moment(each["created_at"])}
    return {str(name): told.get(name, value) for name, value in each.items()}


def moment(microseconds: int | None) -> str | None:
    """ISO 8601 in the local zone, with its offset."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000).astimezone().isoformat(timespec="seconds")


def in_words(delays: dict[str, float]) -> str:
    return "   ".join(f"{name} {seconds * 1000:,.0f} ms" for name, seconds in delays.items())


def _total(selection: Selection, standings: list[dict[str, Any]]) -> int | None:
    narrowed = (selection.first, selection.last, selection.directories) != (None, None, None)
    if narrowed and any(each["state"] != ShardState.COMPLETED for each in standings):
        return None  # the source counts all it lists, of which the range is a part
    return sum(each["total"] for each in standings)


def _scene(catalog: Catalog, run: dict[str, Any]) -> Scene:
    return Scene(run, catalog.now(), catalog.unfinished_stage(run["run_id"]))


def _counted(standings: list[dict[str, Any]], scene: Scene) -> dict[str, int]:
    counts = Counter[str]()
    for each in standings:
        counts[scene.state_of(each)] += each["shards"]
    return dict(counts)


def _shard(row: dict[str, Any], scene: Scene) -> dict[str, Any]:
    seen, error = scene.of_shard(row), in_a_line(row["error"])
    resting = None if seen.state in ("RUNNING", PAUSING) else row["ended_at"]
    seconds = _seconds(row["started_at"], resting or scene.now, row["idle"])
    return {
        "shard_id": row["shard_id"],
        "state": seen.state,
        "stage": row["stage"],
        "range": row["label"],
        "progress": {"current": row["fetched"], "total": row["estimate"]},
        "quarantined": row["quarantined"],
        "attempts": row["attempts"],
        "seconds": round(seconds, 3),
        "rate": round(row["fetched"] / seconds, 1) if seconds else 0.0,  # while it was read
        "error": error,
        "errors": [error] if error else [],
        "retry_count": max(0, row["attempts"] - 1),
        "reason": row["reason"],
        "waiting_for": seen.waiting_for,
    }


def _took(run: dict[str, Any], done_at: int | None, now: int) -> float:
    """Until the last batch was done. Of a run that rested, or failed before its first batch, for how long somebody
    worked on it: its last batch may have been done before it rested."""
    failed_at_once = done_at is None and run["state"] == RunState.FAILED
    if run["idle"] or run["state"] == RunState.PAUSED or failed_at_once:
        end = run["ended_at"] or run["rested_at"] or now
        return _seconds(run["started_at"] or run["created_at"], end, run["idle"])
    return _seconds(run["started_at"], done_at, None)


def _seconds(start: int | None, end: int | None, idle: int | None) -> float:
    """Without those in which nobody worked."""
    return max(0.0, (end - start - (idle or 0)) / 1_000_000) if start and end else 0.0
