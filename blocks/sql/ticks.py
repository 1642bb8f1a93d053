"""What becomes of a time at which a schedule is due: one run, whoever notices it, and however often."""

from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, insert, literal, select

from blocks.sql import leases, schedules
from blocks.sql.catalog import add_run, new_run_id
from blocks.sql.config import value_of
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.registry import in_force
from blocks.sql.requests import admitted
from blocks.sql.tables import schedule, tick
from collectors.errors import Misconfigured, Refused
from collectors.models import Collection
from collectors.scheduling import Schedule
from collectors.validating import of_mode

KEPT = 100 * 24 * 3600 * 1_000_000  # longer than any catch_up
PUNCTUAL = 300.0  # seconds by which a run may begin late although nothing is made up for


class Outcome(StrEnum):
    RUN = "run"
    SKIPPED = "skipped"
    MISSED = "missed"


class Ticked(NamedTuple):
    """What became of it, why it is no run, and which run it is; `held`: by who noticed it, to be led at once."""

    outcome: Outcome
    reason: str | None = None
    run_id: str | None = None
    held: bool = False


class Ticks:
    def __init__(self, database: Database, lease_seconds: float = leases.LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    @contending
    def notice(self, tenant: str, collection: str, slug: str, due_at: int, owner: str | None = None) -> Ticked:
        """The run of this time: the one that is known, or else a new one unless something speaks against it.

        It waits to be carried out; `owner`, if it can begin at once, may lead it instead.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            if known := _known(connection, tenant, collection, slug, due_at):
                return known
            found = self._judged(connection, tenant, collection, slug, due_at, owner)
            _note(connection, tenant, collection, slug, due_at, found)
            schedules.note_noticed(connection, tenant, collection, slug, due_at)
            return found

    def begin_due(self, late: float = 0.0) -> list[Ticked]:
        """Notice all schedules, of all tenants, that have been due for so many seconds; answers what became of them."""
        found = (self.catch_up(*of) for of in self._due(late))
        return [each[1] for each in found if each]

    @repeatable
    def _due(self, late: float) -> list[tuple[str, str, str]]:
        c = schedule.c
        waits = c.active.is_(True), c.next_at <= now() - int(late * 1_000_000)
        query = select(c.tenant, c.collection, c.slug).where(*waits).order_by(c.next_at)
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    @contending
    def catch_up(self, tenant: str, collection: str, slug: str) -> tuple[int, Ticked] | None:
        """Of a schedule that is due: its last time, when that is not too long ago; what was missed before is noted.

        Answers that time (microseconds since 1970), and what became of it; None when it is not due any more.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            due_at, last = _to_make_up_for(connection, tenant, collection, slug)
            if due_at is not None and due_at != last:
                reason = "nobody was there to begin it"
                _note(connection, tenant, collection, slug, due_at, Ticked(Outcome.MISSED, reason))
                schedules.note_noticed(connection, tenant, collection, slug, last or due_at)
        return last and (last, self.notice(tenant, collection, slug, last))

    @repeatable
    def forget(self) -> None:
        """What became of times so long ago that nobody can notice them again."""
        with self._database.write() as connection:
            connection.execute(delete(tick).where(tick.c.due_at < now() - literal(KEPT)))

    def _judged(
        self, connection: Connection, tenant: str, collection: str, slug: str, due_at: int, owner: str | None
    ) -> Ticked:
        registered = in_force(connection, tenant, collection)
        rule = registered and next((each for each in registered[1].schedule if each.slug == slug), None)
        if rule is None:
            return Ticked(Outcome.SKIPPED, "there is no such schedule any more")
        definition = registered[1]
        if why := _against(connection, definition, slug, due_at):
            return why
        due, run_id = of_mode(definition, *definition.due_by(rule)), new_run_id()
        try:
            at_once = admitted(connection, due, run_id)
        except (Refused, Misconfigured) as error:
            return Ticked(Outcome.SKIPPED, error.what)
        held = {"owner": owner, "lease_until": leases.until(self._lease_seconds)} if owner and at_once else {}
        add_run(connection, run_id, due, None, awaited=True, **held)
        return Ticked(Outcome.RUN, None, run_id, held=bool(held))


def _against(connection: Connection, definition: Collection, slug: str, due_at: int) -> Ticked | None:
    """What speaks against a run of that time."""
    at, triggers = schedules.time_of(due_at), definition.triggers
    late = schedules.time_of(connection.scalar(select(now()))) - at
    mine = schedule.c.tenant == definition.tenant, schedule.c.collection == definition.name, schedule.c.slug == slug
    if not connection.scalar(select(schedule.c.active).where(*mine)):
        return Ticked(Outcome.SKIPPED, "it is switched off")
    if late > timedelta(seconds=max(triggers.catch_up, PUNCTUAL)):
        return Ticked(Outcome.MISSED, f"it was noticed {late.total_seconds():.0f} s late")
    if value_of(connection, "schedules", definition.tenant, definition.name) is False:
        return Ticked(Outcome.SKIPPED, "schedules are set off")
    if triggers.is_dark(at):
        return Ticked(Outcome.SKIPPED, "it lies in a blackout")
    return None


def _to_make_up_for(connection: Connection, tenant: str, collection: str, slug: str) -> tuple[int | None, int | None]:
    """Since when the schedule is due, and the last time it was so, if that is not too long ago."""
    mine = schedule.c.tenant == tenant, schedule.c.collection == collection, schedule.c.slug == slug
    row = connection.execute(select(schedule.c.rule, schedule.c.next_at).where(*mine)).first()
    at, registered = connection.scalar(select(now())), in_force(connection, tenant, collection)
    if row is None or registered is None or row.next_at is None or row.next_at > at:
        return None, None
    oldest = at - int(max(registered[1].triggers.catch_up, PUNCTUAL) * 1_000_000)
    since = schedules.time_of(max(row.next_at - 1, oldest))
    last = schedules.latest(Schedule.model_validate_json(row.rule), since, schedules.time_of(at))
    return row.next_at, last and schedules.micros(last)


def _known(connection: Connection, tenant: str, collection: str, slug: str, due_at: int) -> Ticked | None:
    query = select(tick.c.outcome, tick.c.reason, tick.c.run_id).where(_of(tenant, collection, slug, due_at))
    row = connection.execute(query).first()
    return row and Ticked(Outcome(row.outcome), row.reason, row.run_id)


def _note(connection: Connection, tenant: str, collection: str, slug: str, due_at: int, found: Ticked) -> None:
    key = {"tenant": tenant, "collection": collection, "slug": slug, "due_at": due_at}
    values = {"outcome": found.outcome, "reason": found.reason, "run_id": found.run_id, "noticed_at": now()}
    connection.execute(insert(tick).values(**key, **values))


def _of(tenant: str, collection: str, slug: str, due_at: int) -> Any:
    c = tick.c
    return and_(c.tenant == tenant, c.collection == collection, c.slug == slug, c.due_at == due_at)
