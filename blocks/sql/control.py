"""What people ask of runs that have ended: to do over what failed, some shards, or all."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from blocks.sql import leases
from blocks.sql.catalog import open_runs, refuse_if_held
from blocks.sql.database import Database, contending
from blocks.sql.shards import observed
from blocks.sql.tables import batch, quarantine, run, shard, watermark
from collectors.errors import Misconfigured, Refused
from collectors.models import IMPORT, Collection, ShardRetry
from collectors.states import RUN_MOVES, SHARD_MOVES, Desired, RunState, ShardState, sources_of

Scope = Literal["all", "failed", "specific"]
MAY_BE_RETRIED = sources_of(RUN_MOVES, RunState.PAUSED) - {RunState.RUNNING} | {RunState.PAUSED}
AGAIN = sources_of(SHARD_MOVES, ShardState.RETRYING)
# A shard that is read anew, and its batches: what they counted counts no more.
FROM_THE_START = {"cursor": "null", "page": 0, "fetched": 0, "quarantined": 0, "moved": None, "started_at": None}


class Control:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contending
    def retry(
        self,
        run_id: str,
        scope: Scope = "failed",
        shards: Sequence[str] = (),
        policy: ShardRetry | None = None,
        awaited: bool = False,
    ) -> list[str]:
        """Leave the run PAUSED, with what is to be done over RETRYING; answers these shards.

        Failed shards go on from their checkpoints, those that were complete are read anew; for `all` the run is planned
        anew. `policy` takes the place of the run's own; `awaited`: the service is to carry it out, and else the caller.

        Raises Refused while the run is under way, or another one of its collection and mode has not ended, when it was
        cancelled, or when nothing is to be done over; Misconfigured for shards the run does not have.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            row = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().one()
            _refuse_under_way(connection, row)
            again = _meant(connection, row, scope, shards)
            anew = _begin_anew(connection, run_id, again, scope)
            definition = Collection.model_validate_json(row["definition"])
            if policy:
                strategy = definition.strategy.model_copy(update={"shard_retry": policy})
                definition = definition.model_copy(update={"strategy": strategy})
            connection.execute(
                update(run)
                .where(run.c.run_id == run_id)
                .values(
                    state=RunState.PAUSED,
                    desired=Desired.RUN,
                    definition=definition.model_dump_json(),
                    fence=run.c.fence + 1,
                    reason=None,
                    error=None,
                    ended_at=None,
                    closing=None,
                    flow_run_id=None if awaited else row["flow_run_id"],
                    awaited=awaited,
                    round=func.coalesce(run.c.round, 0) + bool(anew),
                    **(_as_if_begun_now(connection, row) if scope == "all" else {}),
                )
            )
        return [each["shard_id"] for each in again]


def _as_if_begun_now(connection: Connection, row: Any) -> dict[str, Any]:
    """What it does not see is gone since then, too; and all it reads is newer than what an epoch before had."""
    epoch = select(watermark.c.epoch).where(
        watermark.c.tenant == row["tenant"], watermark.c.collection == row["collection"]
    )
    return {
        "sweep": observed(connection),
        "epoch": func.coalesce(epoch.scalar_subquery(), 0),
        "planned": False,
    }


def _refuse_under_way(connection: Connection, row: Any) -> None:
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
    if row["state"] == RunState.RUNNING:
        raise Refused(
            "run {run} has not ended: it is {state}",
            "Nobody works on it; go on with: collect resume {run}",
            code="COL-0424",
            run=row["run_id"],
            state=row["state"],
        )
    if row["state"] not in MAY_BE_RETRIED:
        raise Refused(
            "run {run} is {state}",
            "Begin anew: collect run {collection}",
            code="COL-0403",
            run=row["run_id"],
            state=row["state"],
            collection=row["collection"],
        )


def _meant(connection: Connection, row: Any, scope: Scope, shards: Sequence[str]) -> list[Any]:
    known = connection.execute(select(shard).where(shard.c.run_id == row["run_id"])).mappings().all()
    if scope == "specific":
        if unknown := sorted(set(shards) - {each["shard_id"] for each in known}):
            raise Misconfigured(
                "run {run} has no shard {shards}",
                "List them with: collect shards {run}",
                code="COL-0277",
                run=row["run_id"],
                shards=", ".join(unknown)[:200],
            )
        meant = [each for each in known if each["shard_id"] in shards]
    else:
        meant = [
            each
            for each in known
            if scope == "all" or each["state"] not in (ShardState.COMPLETED, ShardState.CANCELLED)
        ]
    sent = Collection.model_validate_json(row["definition"]).collector == IMPORT
    if sent and any(scope == "all" or each["state"] == ShardState.COMPLETED for each in meant):
        raise Refused(
            "what was sent to run {run} is not kept once it is imported",
            "Send it again.",
            code="COL-0427",
            run=row["run_id"],
        )
    if not meant and row["planned"]:
        raise Refused(
            "nothing of run {run} has failed: no shard is to be done over",
            "Name shards (collect shards {run}), or do all over: collect retry {run} --scope all",
            code="COL-0425",
            run=row["run_id"],
        )
    return meant


def _begin_anew(connection: Connection, run_id: str, again: Sequence[Any], scope: Scope) -> list[str]:
    """What had come to its end begins from the start, and is answered; what it had counted counts no more."""
    over = [each["shard_id"] for each in again if scope == "all" or each["state"] == ShardState.COMPLETED]
    connection.execute(delete(quarantine).where(_those(quarantine, run_id, over)))
    connection.execute(update(batch).where(_those(batch, run_id, over)).values(confirmed=False))
    if scope == "all":
        connection.execute(delete(shard).where(_those(shard, run_id, over)))
        return over
    connection.execute(update(shard).where(_those(shard, run_id, over)).values(FROM_THE_START))
    mine = _those(shard, run_id, [each["shard_id"] for each in again])
    connection.execute(update(shard).where(mine).values(failures=0))
    connection.execute(update(shard).where(mine, shard.c.state.in_(AGAIN)).values(state=ShardState.RETRYING))
    return over


def _those(table: Table, run_id: str, shards: Sequence[str]) -> Any:
    return and_(table.c.run_id == run_id, table.c.shard_id.in_(shards))
