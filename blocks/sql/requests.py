"""Runs that were asked for and wait for whoever carries them out; each is asked for once, however often it is said."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, delete, exists, func, insert, literal, or_, select, update

from blocks.process import is_gone
from blocks.sql import leases
from blocks.sql.catalog import NOT_LED
from blocks.sql.constructs import now
from blocks.sql.control import give_up
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.overlapping import UNDER_WAY, in_the_way, seconds_led, supersede
from blocks.sql.registry import refuse_mixed
from blocks.sql.run_rows import add_run
from blocks.sql.spool import is_whole
from blocks.sql.tables import request, run, shard
from collectors.errors import Refused
from collectors.models import Collection
from collectors.states import ENDED_SHARDS, OPEN_RUNS, Desired, RunState

A_DAY = 24 * 3600 * 1_000_000
_UNFINISHED = and_(shard.c.run_id == run.c.run_id, shard.c.state.not_in(ENDED_SHARDS))
_GOES_ON = func.coalesce(shard.c.desired, Desired.RUN) == Desired.RUN
# One of which all that is left is paused waits for somebody who resumes it.
_WAITING = and_(
    run.c.awaited.is_(True),
    run.c.state.in_(OPEN_RUNS),
    run.c.desired == Desired.RUN,
    or_(exists().where(_UNFINISHED, _GOES_ON), ~exists().where(_UNFINISHED)),
)


class Once(NamedTuple):
    """What makes a request the same one when it comes again: a key of the caller's, and what was asked for."""

    key: str
    fingerprint: str


class Accepted(NamedTuple):
    """`held`: by who asked, and to be led at once; else it waits to be carried out."""

    run_id: str
    repeated: bool = False
    held: bool = False


class Requests:
    def __init__(self, database: Database, lease_seconds: float = leases.LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    @contending
    def accept(
        self,
        definition: Collection,
        run_id: str,
        of_file: Collection | None = None,
        once: Once | None = None,
        sent: bool = False,
        owner: str | None = None,
    ) -> Accepted:
        """A run that waits to be carried out; `sent`: what it is to import is in the spool, whole. Such runs wait for
        each other. `owner` holds one that can begin at once.

        Raises Refused when another run of the collection is in its way, when the key belongs to another request, or
        when what was sent is not there any more.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            if once and (known := _known(connection, definition.tenant, once)):
                return Accepted(known, repeated=True)
            refuse_mixed(connection, definition)
            if sent and not is_whole(connection, run_id):
                raise Refused("what was sent was given up meanwhile", "Send it again.", code="COL-0413")
            at_once = not sent and admitted(connection, definition, run_id)
            holder = owner if at_once else None
            add_awaited(connection, run_id, definition, of_file, holder, self._lease_seconds)
            if once:
                values = {"tenant": definition.tenant, "idempotency_key": once.key, "fingerprint": once.fingerprint}
                connection.execute(insert(request).values(**values, run_id=run_id, created_at=now()))
        return Accepted(run_id, held=holder is not None)

    @repeatable
    def waiting(self, to_hand_over: bool = False) -> int:
        """How many runs nobody holds; asked again and again, it costs less than to take one. As `take` has it."""
        query = select(run.c.owner, run.c.lease_until - now()).where(_WAITING)
        if to_hand_over:
            query = query.where(run.c.flow_run_id.is_(None))
        with self._database.read() as connection:
            return sum(left <= 0 or is_gone(owner) for owner, left in connection.execute(query))

    @contending
    def take(self, owner: str, to_hand_over: bool = False) -> str | None:
        """The run that waits for longest and can begin now, held by `owner`, who leads it or gives it back.

        One whose process died waits again. `to_hand_over`: only what nobody was told of.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            for run_id in _may_begin(connection, to_hand_over):
                stopped = case((run.c.state == RunState.RUNNING, RunState.PAUSED), else_=run.c.state)
                held = {"owner": owner, "lease_until": leases.until(self._lease_seconds), "fence": run.c.fence + 1}
                connection.execute(update(run).where(run.c.run_id == run_id).values(**held, state=stopped))
                return run_id
        return None

    @repeatable
    def give_back(self, run_id: str, owner: str, seconds: float = 0.0) -> None:
        """It waits again, and for so long at least."""
        self._let_go(run_id, owner, lease_until=leases.until(seconds))

    @repeatable
    def handed_over(self, run_id: str, owner: str, flow_run_id: str) -> None:
        """It waits for whoever carries out that flow run."""
        self._let_go(run_id, owner, lease_until=0, flow_run_id=flow_run_id)

    def _let_go(self, run_id: str, owner: str, **values: Any) -> None:
        """A run that ended or was paused is held by nobody, and may have to wait all the same."""
        mine = or_(run.c.owner == owner, run.c.owner.is_(None))
        still = and_(run.c.run_id == run_id, run.c.state.in_(NOT_LED), mine)
        with self._database.write() as connection:
            connection.execute(update(run).where(still).values(owner=None, **values))

    @repeatable
    def handed(self) -> dict[str, str]:
        """The flow runs of what was handed over and is held by nobody, and whose runs they are."""
        query = select(run.c.flow_run_id, run.c.run_id, run.c.owner, run.c.lease_until - now()).where(_WAITING)
        with self._database.read() as connection:
            found = connection.execute(query.where(run.c.flow_run_id.is_not(None)))
            return {flow_run: run_id for flow_run, run_id, owner, left in found if left <= 0 or is_gone(owner)}

    @contending
    def take_back(self, run_id: str, flow_run_id: str) -> bool:
        """It waits to be handed over again; False when somebody has it, or it waits no more."""
        mine = and_(run.c.run_id == run_id, run.c.flow_run_id == flow_run_id, run.c.state.in_(OPEN_RUNS))
        with self._database.write() as connection:
            if seconds_led(connection, run_id):
                return False
            return connection.execute(update(run).where(mine).values(flow_run_id=None)).rowcount > 0

    @repeatable
    def forget(self) -> None:
        """Keys that are older than a day may be used anew."""
        with self._database.write() as connection:
            connection.execute(delete(request).where(request.c.created_at < now() - literal(A_DAY)))


def admitted(connection: Connection, definition: Collection, run_id: str) -> bool:
    """Whether the run can begin at once, or has to wait for others, as the collection's policy has it.

    Raises Refused for one that does not come to be, after that policy.
    """
    waits = False
    for other in in_the_way(connection, definition):
        if definition.triggers.overlap == "replace":
            waits |= give_up(connection, other, f"replaced by run {run_id}")
            continue
        try:
            supersede(connection, definition, other, run_id)
        except Refused as error:
            if definition.triggers.overlap != "queue" or error.code != UNDER_WAY:
                raise
            waits = True
    return not waits


def add_awaited(
    connection: Connection,
    run_id: str,
    definition: Collection,
    of_file: Collection | None,
    holder: str | None,
    seconds: float,
) -> None:
    """A run that waits to be carried out, or that `holder` is to lead within so many seconds."""
    held = {"owner": holder, "lease_until": leases.until(seconds)} if holder else {}
    add_run(connection, run_id, definition, of_file, awaited=True, **held)


def _known(connection: Connection, tenant: str, once: Once) -> str | None:
    mine = and_(request.c.tenant == tenant, request.c.idempotency_key == once.key)
    found = connection.execute(select(request.c.fingerprint, request.c.run_id).where(mine)).first()
    if found and found.fingerprint != once.fingerprint:
        raise Refused(
            "the Idempotency-Key {key} was used for another request, that of run {run}",
            "Give each request a key of its own, and repeat it unchanged.",
            code="COL-0407",
            key=f"{once.key:.60}",
            run=found.run_id,
        )
    return found and found.run_id


def _may_begin(connection: Connection, to_hand_over: bool) -> Iterator[str]:
    """Those nobody holds, one after another in each mode of a collection."""
    query = select(run.c.run_id, run.c.flow_run_id, run.c.tenant, run.c.collection, run.c.mode).where(_WAITING)
    seen: set[Any] = set()
    for run_id, flow_run_id, *which in connection.execute(query.order_by(run.c.created_at, run.c.run_id)).all():
        first = tuple(which) not in seen
        seen.add(tuple(which))
        if not (to_hand_over and flow_run_id) and _is_free(connection, run_id, first):
            yield run_id


def _is_free(connection: Connection, run_id: str, first: bool) -> bool:
    """Whether nobody leads it, or another one in its way; `first`: none waits for longer."""
    if seconds_led(connection, run_id):
        return False
    text = connection.scalar(select(run.c.definition).where(run.c.run_id == run_id))
    definition = Collection.model_validate_json(text)
    if definition.triggers.overlap == "allow":
        return True
    return first and not any(seconds_led(connection, each) for each in in_the_way(connection, definition))
