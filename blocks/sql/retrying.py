"""What is done over of a run, in one transaction: which shards, from where, and what counts no more."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from blocks.sql.overlapping import open_runs, refuse_if_held, refuse_if_to_rest
from blocks.sql.run_rows import no_shards
from blocks.sql.shards import RETRIED
from blocks.sql.tables import batch, quarantine, run, shard
from collectors.errors import Refused
from collectors.models import IMPORT, Collection, ShardRetry
from collectors.states import SHARD_MOVES, Desired, RunState, ShardState, sources_of

Scope = Literal["all", "failed", "specific"]
AGAIN = sources_of(SHARD_MOVES, ShardState.RETRYING)
GIVEN_UP = (ShardState.FAILED, ShardState.CANCELLED)
FRESH = {"failures": 0, "desired": None, "mirrored": RETRIED}
# A shard that is read anew, and its batches: what they counted counts no more.
FROM_THE_START = {
    "cursor": "null", "page": 0, "fetched": 0, "quarantined": 0, "moved": None, "started_at": None, "idle": None,
}  # fmt: skip


def retry_ended(
    connection: Connection,
    row: Any,
    scope: Scope,
    shards: Sequence[str],
    policy: ShardRetry | None,
    awaited: bool,
    reason: str | None,
) -> list[str]:
    """Leave a run that nobody works on PAUSED, with what is to be done over RETRYING; answers these shards.

    Raises Refused while another run of its collection and mode has not ended, or when nothing is to be done over;
    Misconfigured for shards the run does not have.
    """
    _refuse_beside_another(connection, row)
    refuse_if_to_rest(row)
    again = _meant(connection, row, scope, shards)
    anew = _begin_anew(connection, row["run_id"], again, scope, reason)
    connection.execute(
        update(run)
        .where(run.c.run_id == row["run_id"])
        .values(
            state=RunState.PAUSED,
            desired=Desired.RUN,
            definition=_with(policy, row["definition"]),
            fence=run.c.fence + 1,
            reason=reason,
            error=None,
            ended_at=None,
            closing=None,
            flow_run_id=None if awaited else row["flow_run_id"],
            awaited=awaited,
            round=func.coalesce(run.c.round, 0) + bool(anew),
            **({"planned": False} if scope == "all" else {}),
        )
    )
    return [each["shard_id"] for each in again]


def retry_meanwhile(
    connection: Connection,
    row: Any,
    scope: Scope,
    shards: Sequence[str],
    policy: ShardRetry | None,
    reason: str | None,
) -> list[str]:
    """Have shards that ended without success read on by whoever works on the run; answers them.

    Raises Refused for what has to wait for the end of the run, or when nothing is to be done over.
    """
    again = _meant(connection, row, scope, shards)
    if scope == "failed":
        again = [each for each in again if each["state"] == ShardState.FAILED]
    if not again:
        raise _nothing_failed(row)
    if policy or scope == "all" or any(each["state"] not in GIVEN_UP for each in again):
        raise Refused(
            "run {run} has not ended: it is {state}",
            "Until then shards that failed or were cancelled can be retried, as the run retries them.",
            code="COL-0424",
            run=row["run_id"],
            state=row["state"],
        )
    names = [each["shard_id"] for each in again]
    values = FRESH | {"state": ShardState.RETRYING, "reason": reason}
    connection.execute(update(shard).where(_those(shard, row["run_id"], names)).values(values))
    return names


def _with(policy: ShardRetry | None, definition: str) -> str:
    if policy is None:
        return definition
    found = Collection.model_validate_json(definition)
    strategy = found.strategy.model_copy(update={"shard_retry": policy})
    return found.model_copy(update={"strategy": strategy}).model_dump_json()


def _refuse_beside_another(connection: Connection, row: Any) -> None:
    for other in open_runs(connection, row["tenant"], row["collection"], row["mode"]):
        refuse_if_held(connection, row["collection"], other)
        if other != row["run_id"]:
            raise Refused(
                "run {other} of collection {collection} has not ended, either",
                "Go on with that one first: collect status {other}",
                code="COL-0428",
                other=other,
                collection=row["collection"],
            )


def _meant(connection: Connection, row: Any, scope: Scope, shards: Sequence[str]) -> list[Any]:
    known = connection.execute(select(shard).where(shard.c.run_id == row["run_id"])).mappings().all()
    if scope == "specific":
        if unknown := sorted(set(shards) - {each["shard_id"] for each in known}):
            raise no_shards(row["run_id"], unknown)
        meant = [each for each in known if each["shard_id"] in shards]
    else:
        meant = [
            each
            for each in known
            if scope == "all" or not (each["state"] in (ShardState.COMPLETED, ShardState.CANCELLED) or _rests(each))
        ]
    sent = Collection.model_validate_json(row["definition"]).collector == IMPORT
    if sent and any(scope == "all" or each["state"] == ShardState.COMPLETED for each in meant):
        raise Refused(
            "what was sent to run {run} is not kept once it is imported",
            "Send it again.",
            code="COL-0427",
            run=row["run_id"],
        )
    to_be_closed = row["planned"] and row["state"] == RunState.FAILED
    if not meant and (scope == "specific" or (row["planned"] and not to_be_closed)):
        raise _nothing_failed(row)
    return meant


def _rests(each: Any) -> bool:
    """Whether it is paused by itself: nothing but to resume it ends that."""
    return each["state"] != ShardState.FAILED and each["desired"] not in (None, Desired.RUN)


def _nothing_failed(row: Any) -> Refused:
    return Refused(
        "nothing of run {run} has failed: no shard is to be done over",
        "When it has ended, name shards (collect shards {run}), or do all over: collect retry {run} --scope all",
        code="COL-0425",
        run=row["run_id"],
    )


def _begin_anew(
    connection: Connection, run_id: str, again: Sequence[Any], scope: Scope, reason: str | None
) -> list[str]:
    """What had come to its end begins from the start, and is answered; what it had counted counts no more.

    Of `all` the account stays until the new plan stands: the source may not be there to be asked for one.
    """
    if scope == "all":
        return [each["shard_id"] for each in again]
    over = [each["shard_id"] for each in again if each["state"] == ShardState.COMPLETED]
    connection.execute(delete(quarantine).where(_those(quarantine, run_id, over)))
    connection.execute(update(batch).where(_those(batch, run_id, over)).values(confirmed=False))
    connection.execute(update(shard).where(_those(shard, run_id, over)).values(FROM_THE_START))
    mine = _those(shard, run_id, [each["shard_id"] for each in again])
    connection.execute(update(shard).where(mine).values(FRESH | {"reason": reason}))
    connection.execute(update(shard).where(mine, shard.c.state.in_(AGAIN)).values(state=ShardState.RETRYING))
    return over


def _those(table: Table, run_id: str, shards: Sequence[str]) -> Any:
    return and_(table.c.run_id == run_id, table.c.shard_id.in_(shards))
