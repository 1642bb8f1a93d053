"""`status`, `shards`, `quarantine`: how runs stand, and what they refused."""

import shlex
import time
from typing import Annotated, Any

from cyclopts import Parameter

from blocks.reports import Report, refused_of, report, shard_of, shards_of, status_of
from blocks.settings import Settings
from blocks.sql.catalog import Catalog
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from collectors.placing import POOL
from collectors.states import OPEN_RUNS
from deployments.cli.choosing import MOST, Limit, parted
from deployments.cli.output import counted, duration, print_json, print_rows, say, show_field


def status(
    target: str | None = None,
    /,
    *,
    collection: str | None = None,
    watch: Annotated[bool, Parameter(negative="")] = False,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show runs, newest first, or one run or shard.

    The columns: run, collection, state, mode, records read of those there are,
    when it started, how long it took.

    Examples
        $ collect status
        $ collect status RUN --watch
        $ collect status RUN/s02

    Parameters
    ----------
    target
        show this run only, or this shard, as RUN/SHARD
    collection
        only runs of this collection
    watch
        show how far that run is until it has ended
    tenant
        whose runs
    json
        print an array of objects; one object with TARGET
    """
    if watch and not target:
        raise Misconfigured(
            "say which run is to be watched",
            "collect status lists them; then: collect status RUN --watch",
            code="COL-0290",
        )
    settings = Settings.load()
    with open_storage(settings) as storage:
        catalog = storage.catalog
        if target:
            run_id, shard_id = parted(target)
            if watch:
                _watched(catalog, run_id)
            if shard_id:
                return _status_of_shard(run_id, shard_of(catalog, run_id, shard_id), json)
            row = catalog.run(run_id)
            done = report(catalog, run_id)
            return _status_of_one(status_of(catalog, row, done), done, json)
        found = [status_of(catalog, row, report(catalog, row["run_id"])) for row in catalog.runs(tenant, collection)]
    columns = {
        "RUN": "run_id", "COLLECTION": "collection", "STATE": "state", "MODE": "mode", "DONE": _done,
        "STARTED": "created_at", "TOOK": _took,
    }  # fmt: skip
    print_rows(found, columns, json)
    if not found and not json:
        say("there is no such run in {home}; begin one with: collect run demo", home=settings.home)
    return 0


def _watched(catalog: Catalog, run_id: str) -> None:
    from deployments.cli.progress import SECONDS_BETWEEN_LOOKS, shown

    with shown(lambda: report(catalog, run_id)):
        while catalog.run(run_id)["state"] in OPEN_RUNS:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _done(each: dict[str, Any]) -> str:
    return counted(each["progress"]["current"], each["progress"]["total"])


def _known(total: int | None) -> str:
    return "?" if total is None else f"{total:,}"


def _took(each: dict[str, Any]) -> str:
    return duration(each["seconds"])


def _status_of_one(found: dict[str, Any], done: Report, json: bool) -> int:
    if json:
        print_json(found)
        return 0
    lines = {
        "run": found["run_id"],
        "collection": found["collection"],
        "state": found["state"] + (f" ({found['reason']})" if found["reason"] else ""),
        "mode": found["mode"],
        "progress": spoken(
            "{current:,} of {total} read, {success:,} applied, {failure:,} quarantined, {phase}",
            **found["progress"] | {"total": _known(done.total), "phase": spoken(done.phase)},
        ),
        "shards": ", ".join(f"{count} {state}" for state, count in found["shards"].items()),
        "rate": spoken("{rate:,.0f}/s over {time}", rate=done.rate, time=duration(done.seconds)),
        "began": found["created_at"],
    }
    if found["placement"] == POOL:
        lines["placement"] = f"{found['placement']} ({found['placement_reason']})"
    if found["waiting_for"]:
        lines["waits for"] = found["waiting_for"]
    for name, text in lines.items():
        show_field(name, text, "")
    for finding in found["quality"]:
        show_field("quality", f"{finding['count']:,} {finding['check']}: {', '.join(finding['examples'])}", indent="")
    for notice in found["notices"]:
        show_field("note", notice, "")
    for error in found["errors"]:
        show_field("error", error, "")
    say("shard by shard: collect shards {run}", run=found["run_id"])
    return 0


def _status_of_shard(run_id: str, found: dict[str, Any], json: bool) -> int:
    if json:
        print_json(found)
        return 0
    lines = {
        "shard": f"{run_id}/{found['shard_id']}",
        "state": found["state"],
        "range": found["range"],
        "progress": _done(found),
        "rate": spoken("{rate:,.0f}/s over {time}", rate=found["rate"], time=_took(found)),
        "attempts": str(found["attempts"]),
    }
    if why := _why(found):
        lines["why"] = why
    for name, text in lines.items():
        show_field(name, text, "")
    return 0


def shards(run_id: str, /, *, json: bool = False) -> int:
    """Show the shards of a run.

    The columns: shard, state, range, records read of those estimated, how fast,
    how long it took, how often it was tried (to go on after a pause is no try),
    and why it stands so, or what it waits for.

    Examples
        $ collect shards RUN
        $ collect shards RUN --json

    Parameters
    ----------
    run_id
        the run, as collect status shows it
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        found = shards_of(storage.catalog, run_id)
        planned = storage.catalog.run(run_id)["planned"]
    columns = {
        "SHARD": "shard_id", "STATE": "state", "RANGE": "range", "DONE": _done, "RATE": _rate, "TOOK": _took,
        "TRY": "attempts", "WHY": _why,
    }  # fmt: skip
    print_rows(found, columns, json)
    if not found and not json and planned:
        say("run {run} has no shards: its source was empty", run=run_id)
    elif not found and not json:
        say("run {run} is not planned yet, or its source could not be asked: collect status {run}", run=run_id)
    return 0


def _rate(each: dict[str, Any]) -> str:
    return spoken("{rate:,.0f}/s", rate=each["rate"]) if each["rate"] else ""


def _why(each: dict[str, Any]) -> str:
    waits = each["waiting_for"] and spoken("waits for {what}", what=each["waiting_for"])
    return "; ".join(filter(None, (each["error"], each["reason"], waits)))


def quarantine(
    run_id: str | None = None, /, *, limit: Limit = 1000, tenant: str = "default", json: bool = False
) -> int:
    """Show the records that were refused, and why.

    Examples
        $ collect quarantine
        $ collect quarantine RUN --limit 10

    Parameters
    ----------
    run_id
        only those of this run
    limit
        the most to show
    tenant
        whose runs
    json
        print an array of objects, each with what the source sent
    """
    with open_storage(Settings.load()) as storage:
        if run_id:
            storage.catalog.run(run_id)
        found = [refused_of(each) for each in storage.quarantine.records(run_id, limit + 1, tenant)]
    columns = {
        "RUN": "run_id", "SHARD": "shard_id", "PAGE": lambda each: each["page"] + 1,
        "AT": _place, "ID": "record_id", "REASON": "reason", "WHAT": "message",
    }  # fmt: skip
    print_rows(found[:limit], columns, json)
    if len(found) > limit:
        of_run = [run_id] if run_id else []
        more = shlex.join(["collect", "quarantine", *of_run, f"--limit={min(10 * limit, MOST)}"])
        say("{count} refused records. More: {command}", count=limit, command=more)
    elif not found and not json:
        say("nothing is quarantined")
    return 0


def _place(each: dict[str, Any]) -> int | str:
    """Where it stood on its page; what loading refused has no place there."""
    return each["position"] + 1 if each["position"] >= 0 else "-"
