"""Runs: what runs, how far it has come, how it ended."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from blocks.sql import leases
from blocks.sql.constructs import execute_bound, greatest, now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.ledger import IS_OPEN
from blocks.sql.overlapping import (
    cancel_shards,
    give_way,
    in_the_way,
    refuse_if_held,
    refuse_if_to_rest,
    seconds_held,
    seconds_led,
    under_way,
)
from blocks.sql.registry import refuse_mixed, remember
from blocks.sql.run_rows import add_run, led, new_run_id, no_run, no_shards
from blocks.sql.schedules import switch_off_if_failing
from blocks.sql.shards import MAY_GO_ON, RETRIED, observed
from blocks.sql.tables import batch as ledger
from blocks.sql.tables import quarantine, run, shard, watermark
from collectors.closing import Closing, Errors
from collectors.errors import Fenced, Refused
from collectors.interfaces import RunClaim
from collectors.models import Collection, ShardPlan, Verdict
from collectors.selecting import WHOLE, Selection
from collectors.states import ENDED_SHARDS, OPEN_RUNS, RUN_MOVES, SHARD_MOVES, Desired, RunState, ShardState, sources_of

PERCENTILES = (50, 95, 99)
# A run found RUNNING and held by nobody lost its process: it is taken over as it is.
MAY_RUN = sources_of(RUN_MOVES, RunState.RUNNING) | {RunState.RUNNING}
# What is asked for most.
_RUN = select(run).where(run.c.run_id == bindparam("run"))
_SHARDS = (
    select(shard).where(shard.c.run_id == bindparam("run")).order_by(func.length(shard.c.shard_id), shard.c.shard_id)
)
_STANDINGS = (
    select(
        shard.c.state,
        shard.c.desired,
        shard.c.owner,
        func.max(shard.c.lease_until).label("lease_until"),
        func.count().label("shards"),
        func.sum(shard.c.fetched).label("fetched"),
        func.sum(shard.c.quarantined).label("quarantined"),
        # The estimate, or what was found where that is more already.
        func.sum(
            case(
                (shard.c.state == ShardState.COMPLETED, shard.c.fetched),
                else_=greatest(shard.c.estimate, shard.c.fetched),
            )
        ).label("total"),
    )
    .where(shard.c.run_id == bindparam("run"))
    .group_by(shard.c.state, shard.c.desired, shard.c.owner, shard.c.lease_until > bindparam("at"))
)
_UNREAD = and_(shard.c.state == ShardState.FAILED, shard.c.estimate > shard.c.fetched)
_ERRORS = select(
    func.coalesce(func.sum(shard.c.estimate), 0).label("planned"),
    func.coalesce(func.sum(shard.c.quarantined), 0).label("refused"),
    func.coalesce(func.sum(case((_UNREAD, shard.c.estimate - shard.c.fetched), else_=0)), 0).label("unread"),
).where(shard.c.run_id == bindparam("run"))
_TROUBLES = _SHARDS.with_only_columns(shard.c.shard_id, shard.c.label, shard.c.error).where(shard.c.error.is_not(None))
_COLLECTED = (
    select(run.c.collection).distinct().where(run.c.tenant == bindparam("of_tenant")).order_by(run.c.collection)
)
_APPLIED = select(
    *(func.coalesce(func.sum(ledger.c[verdict.value]), 0).label(verdict.value) for verdict in Verdict),
    func.max(ledger.c.done_at).label("done_at"),
    func.count(case((IS_OPEN, 1))).label("open_batches"),
).where(ledger.c.run_id == bindparam("run"), ledger.c.confirmed.is_(True))
_DESIRED = select(run.c.desired).where(run.c.run_id == bindparam("run"))
_UNFINISHED = (
    select(shard)
    .where(shard.c.run_id == bindparam("run"), shard.c.state.not_in(ENDED_SHARDS))
    .order_by(func.length(shard.c.shard_id), shard.c.shard_id)
)
_NOT_READ = or_(
    shard.c.state.in_(sources_of(SHARD_MOVES, ShardState.RUNNING)),
    and_(shard.c.state == ShardState.RUNNING, shard.c.lease_until < now()),
)
_DUE = _UNFINISHED.where(shard.c.stage == bindparam("stage"), _NOT_READ, MAY_GO_ON)
CONCLUDED = (RunState.COMPLETED, RunState.PARTIALLY_COMPLETED, RunState.FAILED)
_RETRIED = (
    _UNFINISHED.with_only_columns(func.count())
    .where(shard.c.state == ShardState.RETRYING, shard.c.mirrored == RETRIED)
    .order_by(None)
)
NOT_LED = (RunState.CREATED, RunState.PAUSED)


class Catalog:
    def __init__(self, database: Database, lease_seconds: float = leases.LEASE_SECONDS) -> None:
        self._database = database
        self.lease_seconds = lease_seconds

    # ---- the life of a run -------------------------------------------------------------------------------

    @contending
    def begin(self, definition: Collection, owner: str, of_file: Collection | None = None) -> RunClaim:
        """A new run of the collection. Raises Refused while another one is under way.

        `of_file` is what its file says, without overrides: it is registered once the source has answered.
        A run that was interrupted, or whose process died, gives way: it becomes CANCELLED.
        """
        run_id = new_run_id()
        held = {"owner": owner, "fence": 1, "lease_until": leases.until(self.lease_seconds)}
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            refuse_mixed(connection, definition)
            superseded = give_way(connection, definition, run_id)
            add_run(connection, run_id, definition, of_file, **held)
        return RunClaim(run_id, owner, 1, superseded)

    @repeatable
    def seconds_held(self, run_id: str) -> float:
        """For how long the run or one of its shards is still held by a process that may be alive."""
        with self._database.read() as connection:
            return seconds_held(connection, run_id)

    @repeatable
    def seconds_led(self, run_id: str) -> float:
        """For how long a process that may be alive leads the run; its shards may be read all the same."""
        with self._database.read() as connection:
            return seconds_led(connection, run_id)

    @contending
    def lead(self, run_id: str, owner: str, flow_run_id: str | None = None) -> RunClaim:
        """Take the run and set it RUNNING: one just begun by `owner`, or one nobody leads any more.

        Raises Refused while another process works on the collection, when the run is to stay as it is, or when it has
        ended for good.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            found = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().first()
            if found is None:
                raise no_run(run_id)
            if (found["owner"] != owner or found["state"] not in NOT_LED) and seconds_led(connection, run_id):
                raise under_way(found["collection"], run_id, found["mode"])
            for other in in_the_way(connection, Collection.model_validate_json(found["definition"])):
                if other != run_id:
                    refuse_if_held(connection, found["collection"], other)
            refuse_if_to_rest(found)
            taken = connection.execute(
                update(run)
                .where(run.c.run_id == run_id, run.c.state.in_(MAY_RUN))
                .values(
                    owner=owner,
                    fence=run.c.fence + 1,
                    lease_until=leases.until(self.lease_seconds),
                    **_goes_on(),
                    desired=Desired.RUN,  # what else there is to wish was refused above, or is over
                    flow_run_id=flow_run_id,
                    mirrored=None,
                    ended_at=None,
                    error=None,
                )
            )
            if taken.rowcount and found["state"] not in OPEN_RUNS:
                failed = shard.c.run_id == run_id, shard.c.state == ShardState.FAILED
                connection.execute(update(shard).where(*failed).values(state=ShardState.RETRYING))
        if not taken.rowcount:
            raise Refused(
                "run {run} is {state}",
                "Begin anew: collect run {collection}",
                code="COL-0403",
                run=run_id,
                state=found["state"],
                collection=found["collection"],
            )
        return RunClaim(run_id, owner, found["fence"] + 1)

    @repeatable
    def renew(self, claim: RunClaim) -> Desired:
        # A lease is worth nothing to a machine that died, so it need not wait for the disk.
        with self._database.write(durable=False) as connection:
            led(connection, claim, lease_until=leases.until(self.lease_seconds))
            return Desired(connection.scalar(select(run.c.desired).where(run.c.run_id == claim.run_id)))

    @repeatable
    def rest(self, claim: RunClaim) -> None:
        """PAUSED, by a process that keeps it and waits to go on."""
        with self._database.write() as connection:
            led(connection, claim, state=RunState.PAUSED, rested_at=now())

    @repeatable
    def wake(self, claim: RunClaim) -> None:
        """RUNNING again, after `rest`."""
        with self._database.write() as connection:
            led(connection, claim, **_goes_on())

    @repeatable
    def desired(self, run_id: str) -> Desired:
        with self._database.read() as connection:
            return Desired(execute_bound(connection, _DESIRED, {"run": run_id}).scalar_one())

    @repeatable
    def save_plan(
        self,
        claim: RunClaim,
        plans: Sequence[ShardPlan],
        started_at: float,
        selection: Selection = WHOLE,
        source_time: int | None = None,
    ) -> None:
        """All shards in one transaction, in place of those it may have had: a run is planned wholly or not at all.

        `started_at`: seconds since 1970. `source_time`: when the source was asked first, by its own clock; microseconds
        since 1970. What is read from now on is of the present epoch, and what it does not see is gone by now.
        """
        rows = [
            {
                "run_id": claim.run_id,
                "shard_id": plan.shard_id,
                "stage": plan.stage,
                "label": plan.label,
                "span": orjson.dumps(plan.span).decode(),
                "estimate": plan.estimate,
                "state": ShardState.PENDING,
                "cursor": "null",
            }
            for plan in plans
        ]
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            told = {"selection": selection.model_dump_json(), "source_time": source_time}
            mine = connection.execute(select(run).where(run.c.run_id == claim.run_id)).mappings().one()
            if mine["planned"]:  # the answer was lost, and not the plan
                led(connection, claim, planned=True)
                return
            epoch = _epoch_of(connection, mine)
            # Nobody else has this number: what was seen before is older, what is seen later newer.
            told |= {"sweep": observed(connection), "epoch": epoch, "idle": 0}
            led(connection, claim, planned=True, started_at=int(started_at * 1_000_000), **told)
            _forget_plan(connection, claim.run_id)
            if rows:
                connection.execute(insert(shard), rows)
            text = connection.scalar(select(run.c.of_file).where(run.c.run_id == claim.run_id))
            if text:
                remember(connection, Collection.model_validate_json(text))

    @repeatable
    def place(self, claim: RunClaim, placement: str, reason: str) -> None:
        """Where the shards of the run are read, and why."""
        with self._database.write() as connection:
            led(connection, claim, placement=placement, placement_reason=reason)

    @repeatable
    def desire(self, run_id: str, desired: Desired, reason: str | None = None) -> None:
        """What a process wants of a run it works on; a pause that people asked for outlasts it.

        To leave it when it has ended changes nothing.
        """
        wish: Any = desired
        may = [] if desired is Desired.RUN else [run.c.state.in_(OPEN_RUNS)]
        if desired is Desired.LEAVE:
            may.append(run.c.desired.in_((Desired.RUN, Desired.PAUSE, Desired.LEAVE)))
            wish = case((run.c.desired == Desired.PAUSE, Desired.STOP), else_=Desired.LEAVE)
            reason = case((run.c.desired == Desired.PAUSE, run.c.reason), else_=reason)
        with self._database.write() as connection:
            # The reason first: MySQL sees what was set before in the same statement.
            values = {"reason": reason, "desired": wish, "desired_at": now()}
            in_order = [(run.c[name], value) for name, value in values.items()]
            connection.execute(update(run).where(run.c.run_id == run_id, *may).ordered_values(*in_order))

    @repeatable
    def leave_what_rests(self, run_id: str, reason: str) -> None:
        """Nobody goes on with a run of which all that is left is paused, before something of it is resumed."""
        mine = run.c.run_id == run_id, run.c.desired == Desired.RUN, run.c.state == RunState.PAUSED
        unfinished = and_(shard.c.run_id == run_id, shard.c.state.not_in(ENDED_SHARDS))
        resumed = func.coalesce(shard.c.desired, Desired.RUN) == Desired.RUN
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            if not connection.scalar(select(func.count()).where(unfinished, resumed)):
                values = {"desired": Desired.LEAVE, "reason": reason, "desired_at": now()}
                connection.execute(update(run).where(*mine).values(values))

    @repeatable
    def end(self, claim: RunClaim, state: RunState, error: str | None = None) -> bool:
        """Leave the run in `state` and give up its lease; False, and it goes on, when a retry came meanwhile."""
        ended = {} if state is RunState.PAUSED else {"ended_at": now()}
        if state not in (RunState.PAUSED, RunState.CANCELLED):
            ended["reason"] = None
        # One that rests is left as it is.
        allowed = run.c.state.in_(sources_of(RUN_MOVES, state) | ({state} & {RunState.PAUSED}))
        rested = {"rested_at": func.coalesce(run.c.rested_at, now())}
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            if state in CONCLUDED and connection.scalar(_RETRIED, {"run": claim.run_id}):
                return False
            try:
                led(connection, claim, allowed, state=state, error=error, lease_until=0, owner=None, **ended, **rested)
                if state is RunState.CANCELLED:
                    cancel_shards(connection, claim.run_id)
                if state is RunState.FAILED:
                    _switch_off_if_failing(connection, claim.run_id)
            except Fenced:
                if not _has_ended(connection, claim, state):
                    raise
        return True

    @repeatable
    def note_closing(self, run_id: str, closing: Closing) -> None:
        with self._database.write() as connection:
            connection.execute(update(run).where(run.c.run_id == run_id).values(closing=closing.model_dump_json()))

    # ---- looking -----------------------------------------------------------------------------------------

    @repeatable
    def run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """The row of a run. Raises Misconfigured when there is none, or none of that tenant."""
        with self._database.read() as connection:
            row = execute_bound(connection, _RUN, {"run": run_id}).mappings().first()
        if row is None or tenant not in (None, row["tenant"]):
            raise no_run(run_id)
        return dict(row)

    @repeatable
    def runs(
        self,
        tenant: str,
        collection_name: str | None = None,
        limit: int = 50,
        state: RunState | None = None,
        before: tuple[int, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Newest first; `before`: those older than the run of this (created_at, run id)."""
        query = select(run).where(run.c.tenant == tenant)
        if collection_name:
            query = query.where(run.c.collection == collection_name)
        if state:
            query = query.where(run.c.state == state)
        if before:
            at, run_id = before
            older = or_(run.c.created_at < at, and_(run.c.created_at == at, run.c.run_id < run_id))
            query = query.where(older)
        newest = query.order_by(run.c.created_at.desc(), run.c.run_id.desc()).limit(limit)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(newest).mappings()]

    @repeatable
    def collected(self, tenant: str) -> list[str]:
        """The names of all collections that were ever run."""
        with self._database.read() as connection:
            return [name for (name,) in execute_bound(connection, _COLLECTED, {"of_tenant": tenant})]

    @repeatable
    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.scalars(select(run.c.tenant).distinct().order_by(run.c.tenant)))

    def under_way(self) -> list[str]:
        """The unfinished runs of all tenants that a process may be working on."""
        return [run_id for state in OPEN_RUNS for run_id in self.with_state(state) if self.seconds_held(run_id)]

    @repeatable
    def with_state(self, state: RunState) -> list[str]:
        """The ids of all runs in this state, of all tenants."""
        with self._database.read() as connection:
            return list(connection.scalars(select(run.c.run_id).where(run.c.state == state).order_by(run.c.created_at)))

    @repeatable
    def shard(self, run_id: str, shard_id: str) -> dict[str, Any]:
        """The row of a shard. Raises Misconfigured when the run has none of that name."""
        query = select(shard).where(shard.c.run_id == run_id, shard.c.shard_id == shard_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise no_shards(run_id, [shard_id])
        return dict(row)

    @repeatable
    def unfinished_stage(self, run_id: str) -> str | None:
        """The first stage of the plan of which a shard has not ended."""
        with self._database.read() as connection:
            return connection.scalar(_UNFINISHED.with_only_columns(shard.c.stage).limit(1), {"run": run_id})

    @repeatable
    def due(self, run_id: str, stage: str, most: int) -> list[dict[str, Any]]:
        """The first shards of a stage that may be read and that nobody reads, in the order of the plan."""
        query = _DUE.with_only_columns(shard.c.shard_id, shard.c.state, shard.c.failures).limit(most)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query, {"run": run_id, "stage": stage}).mappings()]

    @repeatable
    def held_back(self, run_id: str, stage: str) -> list[Desired]:
        """What is desired of each shard of a stage that has not ended; none of one that ended."""
        query = _UNFINISHED.with_only_columns(shard.c.desired).where(shard.c.stage == bindparam("stage"))
        with self._database.read() as connection:
            found = connection.scalars(query, {"run": run_id, "stage": stage})
            return [Desired(desired or Desired.RUN) for desired in found]

    @repeatable
    def shards(self, run_id: str) -> list[dict[str, Any]]:
        """In the order of the plan."""
        with self._database.read() as connection:
            return [dict(row) for row in execute_bound(connection, _SHARDS, {"run": run_id}).mappings()]

    @repeatable
    def standings(self, run_id: str, at: int) -> list[dict[str, Any]]:
        """The shards of a run, those added up that are shown alike at the moment `at`: there may be ten thousand."""
        with self._database.read() as connection:
            found = execute_bound(connection, _STANDINGS, {"run": run_id, "at": at}).mappings()
            # MySQL adds integers up to decimals.
            return [dict(row) | {name: int(row[name]) for name in ("fetched", "quarantined", "total")} for row in found]

    @repeatable
    def troubles(self, run_id: str) -> list[dict[str, Any]]:
        """The shards of which an error is known, in the order of the plan."""
        with self._database.read() as connection:
            return [dict(row) for row in execute_bound(connection, _TROUBLES, {"run": run_id}).mappings()]

    @repeatable
    def errors(self, run_id: str) -> Errors:
        with self._database.read() as connection:
            found = execute_bound(connection, _ERRORS, {"run": run_id}).mappings().one()
        # MySQL adds integers up to decimals.
        return Errors(**{str(name): int(value) for name, value in found.items()})

    @repeatable
    def applied(self, run_id: str) -> dict[str, Any]:
        """What a run's confirmed batches did, by verdict; when the last was done (microseconds); how many are open."""
        with self._database.read() as connection:
            found = execute_bound(connection, _APPLIED, {"run": run_id}).mappings().one()
        # MySQL adds integers up to decimals.
        return {name: None if value is None else int(value) for name, value in found.items()}

    @repeatable
    def now(self) -> int:
        """The time by the clock of the database; microseconds since 1970."""
        with self._database.read() as connection:
            return int(connection.scalar(select(now())))

    @repeatable
    def delays(self, run_id: str) -> dict[str, float]:
        """Seconds from the arrival of a page until its batch was in every store: percentiles over a run's batches."""
        took = (ledger.c.done_at - ledger.c.arrived_at).label("took")
        query = select(took).where(ledger.c.run_id == run_id, ledger.c.confirmed.is_(True), took.is_not(None))
        with self._database.read() as connection:
            found = sorted(connection.scalars(query))
        return {f"p{part}": found[(len(found) - 1) * part // 100] / 1_000_000 for part in PERCENTILES if found}

    @repeatable
    def refusals(self, run_id: str) -> list[dict[str, Any]]:
        """Quarantined records of a run by reason: how many, and what was said of one of them."""
        q = quarantine.c
        query = (
            select(q.reason, func.count().label("count"), func.min(q.message).label("message"))
            .where(q.run_id == run_id)
            .group_by(q.reason)
            .order_by(func.count().desc())
        )
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _switch_off_if_failing(connection: Connection, run_id: str) -> None:
    text = connection.scalar(select(run.c.definition).where(run.c.run_id == run_id))
    most = Collection.model_validate_json(text).triggers.pause_after_failures
    switch_off_if_failing(connection, run_id, most)


def _epoch_of(connection: Connection, row: Any) -> int:
    mine = watermark.c.tenant == row["tenant"], watermark.c.collection == row["collection"]
    return connection.scalar(select(watermark.c.epoch).where(*mine)) or 0


def _forget_plan(connection: Connection, run_id: str) -> None:
    """What was planned before, and what it had counted."""
    connection.execute(update(ledger).where(ledger.c.run_id == run_id).values(confirmed=False))
    for table in (quarantine, shard):
        connection.execute(delete(table).where(table.c.run_id == run_id))


def _goes_on() -> dict[str, Any]:
    rested = case((run.c.rested_at.is_not(None), now() - run.c.rested_at), else_=0)
    # It is set before rested_at, whose column comes later: MySQL sees what a statement has set already.
    return {"idle": func.coalesce(run.c.idle, 0) + rested, "rested_at": None, "state": RunState.RUNNING}


def _has_ended(connection: Connection, claim: RunClaim, state: RunState) -> bool:
    """Whether the answer to this end was lost, and not the end."""
    left = and_(run.c.run_id == claim.run_id, run.c.fence == claim.fence, run.c.owner.is_(None), run.c.state == state)
    return connection.scalar(select(func.count()).where(left)) > 0
