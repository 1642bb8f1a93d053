"""Which runs get in each other's way, and which may be taken over: what is held, awaited or to rest is not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from blocks.process import is_gone
from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.tables import run, shard, spool
from collectors.errors import Refused
from collectors.models import Collection
from collectors.states import OPEN_RUNS, SHARD_MOVES, Desired, RunState, ShardState, sources_of

UNDER_WAY = "COL-0402"


def give_way(connection: Connection, definition: Collection, successor: str) -> str | None:
    """Cancel what was interrupted of the collection; answers the last of it. Raises Refused while one is under way."""
    run_id = None
    for run_id in in_the_way(connection, definition):
        supersede(connection, definition, run_id, successor)
    return run_id


def in_the_way(connection: Connection, definition: Collection) -> Sequence[str]:
    """The open runs that a new one has to do with."""
    beside = definition.triggers.overlap == "allow"
    return [] if beside else open_runs(connection, definition.tenant, definition.name, definition.mode)


def supersede(connection: Connection, of: Collection, run_id: str, successor: str) -> None:
    """Cancel a run that was interrupted. Raises Refused when it is not: it is under way, waits, or was paused."""
    refuse_if_paused(connection, run_id)
    refuse_if_held(connection, of.name, run_id)
    _refuse_if_awaited(connection, of.name, run_id)
    reason = f"superseded by run {successor}"
    ended = {"state": RunState.CANCELLED, "reason": reason, "ended_at": now()}
    connection.execute(update(run).where(run.c.run_id == run_id).values(ended | {"fence": run.c.fence + 1}))
    cancel_shards(connection, run_id)
    audited(connection, of.tenant, "cancel", run_id, reason=reason)


def cancel_shards(connection: Connection, run_id: str, *which: Any) -> None:
    """Those that have not ended; whoever reads one is shut out."""
    may = shard.c.state.in_(sources_of(SHARD_MOVES, ShardState.CANCELLED))
    left = {"owner": None, "lease_until": 0, "ended_at": func.coalesce(shard.c.ended_at, now())}
    values = {"state": ShardState.CANCELLED, "fence": shard.c.fence + 1, **left}
    connection.execute(update(shard).where(shard.c.run_id == run_id, may, *which).values(values))


def refuse_if_to_rest(row: Mapping[str, Any]) -> None:
    """Raises Refused for a run that nobody is to go on with before somebody says so."""
    to_rest = row["desired"] in (Desired.PAUSE, Desired.STOP, Desired.CANCEL)
    interrupted = row["desired"] == Desired.LEAVE and row["state"] == RunState.CREATED
    if (to_rest or interrupted) and row["state"] in OPEN_RUNS:
        raise Refused(
            "run {run} is to stay paused ({reason})",
            "Go on with it: collect resume {run}; or give it up: collect cancel {run}",
            code="COL-0430",
            run=row["run_id"],
            reason=row["reason"] or "-",
        )


def refuse_if_paused(connection: Connection, run_id: str) -> None:
    row = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().one()
    if row["desired"] != Desired.LEAVE:
        refuse_if_to_rest(row)


def open_runs(connection: Connection, tenant: str, name: str, mode: str) -> Sequence[str]:
    """Runs of different modes do not get in each other's way."""
    mine = run.c.tenant == tenant, run.c.collection == name, run.c.mode == mode
    return connection.scalars(select(run.c.run_id).where(*mine, run.c.state.in_(OPEN_RUNS))).all()


def refuse_if_any_held(connection: Connection, tenant: str, name: str) -> None:
    mine = run.c.tenant == tenant, run.c.collection == name, run.c.state.in_(OPEN_RUNS)
    for run_id in connection.scalars(select(run.c.run_id).where(*mine)).all():
        refuse_if_held(connection, name, run_id)


def refuse_if_held(connection: Connection, name: str, run_id: str) -> None:
    if seconds_held(connection, run_id):
        raise under_way(name, run_id, connection.scalar(select(run.c.mode).where(run.c.run_id == run_id)))


def under_way(name: str, run_id: str, mode: str) -> Refused:
    return Refused(
        "collection {collection} is being collected by run {run}, of mode {mode}",
        "Watch it with: collect status {run}",
        code=UNDER_WAY,
        collection=name,
        run=run_id,
        mode=mode,
    )


def _refuse_if_awaited(connection: Connection, name: str, run_id: str) -> None:
    """What the service has accepted is carried out; and what was sent with it is nowhere else."""
    sent = exists().where(spool.c.run_id == run.c.run_id)
    asked_for = and_(run.c.awaited.is_(True), run.c.desired == Desired.RUN)
    if connection.scalar(select(run.c.run_id).where(run.c.run_id == run_id, or_(asked_for, sent))):
        raise Refused(
            "run {run} of collection {collection} waits to be carried out",
            "Watch it with: collect status {run}; the service carries it out: collect serve",
            code="COL-0408",
            collection=name,
            run=run_id,
        )


def seconds_held(connection: Connection, run_id: str) -> float:
    query = select(shard.c.owner, shard.c.lease_until - now())
    leased = connection.execute(query.where(shard.c.run_id == run_id, shard.c.lease_until > now())).all()
    return max(seconds_led(connection, run_id), _longest(leased))


def seconds_led(connection: Connection, run_id: str) -> float:
    return _longest(connection.execute(select(run.c.owner, run.c.lease_until - now()).where(run.c.run_id == run_id)))


def _longest(leases_left: Iterable[Any]) -> float:
    return max((left / 1_000_000 for owner, left in leases_left if left > 0 and not is_gone(owner)), default=0.0)
