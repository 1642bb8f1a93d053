"""What becomes of a time at which a schedule is due: one run, whoever notices it, and however often."""

import logging
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, literal, select

from blocks.sql import leases, schedules
from blocks.sql.config import value_of
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.registry import in_force
from blocks.sql.requests import add_awaited, admitted
from blocks.sql.run_rows import new_run_id
from blocks.sql.tables import schedule, tick
from collectors.errors import Misconfigured, Refused, named
from collectors.models import Collection
from collectors.scheduling import Schedule, micros, time_of
from collectors.validating import of_mode

KEPT = 100 * 24 * 3600 * 1_000_000  # longer than any catch_up
UNNOTICED = "it was not noticed in time"
PREFECTS_TURN = 60.0  # seconds in which Prefect's scheduler begins what is due, where it does
PUNCTUAL = 300.0  # seconds by which a run may begin late although nothing is made up for
log = logging.getLogger(__name__)


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
            rule = connection.scalar(select(schedule.c.rule).where(schedules.of(tenant, collection, slug)))
            at = micros(Schedule.model_validate_json(rule).known_as(time_of(due_at))) if rule else due_at
            return self._noticed(connection, tenant, collection, slug, at, owner)

    def begin_due(self, late: float = 0.0) -> list[Ticked]:
        """Notice all schedules, of all tenants, that have been due for so many seconds; answers what became of them.

        One that cannot be noticed costs the others nothing: it is tried again, and logged each time.
        """
        found = []
        for of in self._due(late):
            try:
                found += self.catch_up(*of)
            except Exception as error:  # noqa: BLE001 - a definition that this version cannot read, for one
                log.warning("schedule %s/%s/%s: %s", *of, named(error))
        return found

    @repeatable
    def _due(self, late: float) -> list[tuple[str, str, str]]:
        c = schedule.c
        waits = c.active.is_(True), c.next_at <= now() - int(late * 1_000_000)
        query = select(c.tenant, c.collection, c.slug).where(*waits).order_by(c.next_at)
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    @contending
    def catch_up(self, tenant: str, collection: str, slug: str) -> list[Ticked]:
        """Notice the last time at which a schedule was due, when that is not too long ago; what was missed before is
        noted as one. Nothing when it is not due any more."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            at = connection.scalar(select(now()))
            due_at, last = _to_make_up_for(connection, tenant, collection, slug, at)
            if due_at is None:
                return []
            if due_at != last and not _known(connection, tenant, collection, slug, due_at):
                _note(connection, tenant, collection, slug, due_at, Ticked(Outcome.MISSED, UNNOTICED))
            if last is not None:
                return [self._noticed(connection, tenant, collection, slug, last, None)]
            schedules.note_noticed(connection, tenant, collection, slug, at)
            return []

    @repeatable
    def forget(self) -> None:
        """What became of times so long ago that nobody can notice them again."""
        with self._database.write() as connection:
            connection.execute(delete(tick).where(tick.c.due_at < now() - literal(KEPT)))

    def _noticed(
        self, connection: Connection, tenant: str, collection: str, slug: str, due_at: int, owner: str | None
    ) -> Ticked:
        found = _known(connection, tenant, collection, slug, due_at)
        if found is None:
            found = self._judged(connection, tenant, collection, slug, due_at, owner)
            _note(connection, tenant, collection, slug, due_at, found)
        schedules.note_noticed(connection, tenant, collection, slug, due_at)
        return found

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
        run_id = new_run_id()
        try:
            due = of_mode(definition, *definition.due_by(rule))
            with connection.begin_nested():  # who was to give way does not, when another one is in the way, too
                at_once = admitted(connection, due, run_id)
        except (Refused, Misconfigured) as error:
            return Ticked(Outcome.SKIPPED, error.what)
        holder = owner if at_once else None
        add_awaited(connection, run_id, due, None, holder, self._lease_seconds)
        return Ticked(Outcome.RUN, None, run_id, held=holder is not None)


def _against(connection: Connection, definition: Collection, slug: str, due_at: int) -> Ticked | None:
    """What speaks against a run of that time."""
    at, triggers = time_of(due_at), definition.triggers
    present = time_of(connection.scalar(select(now())))
    late = present - at
    if not connection.scalar(select(schedule.c.active).where(schedules.of(definition.tenant, definition.name, slug))):
        return Ticked(Outcome.SKIPPED, "it is switched off")
    if late > timedelta(seconds=max(triggers.catch_up, PUNCTUAL)):
        return Ticked(Outcome.MISSED, f"it was noticed {late.total_seconds():.0f} s late")
    if value_of(connection, "schedules", definition.tenant, definition.name) is False:
        return Ticked(Outcome.SKIPPED, "schedules are set off")
    if triggers.is_dark(at) or triggers.is_dark(present):
        return Ticked(Outcome.SKIPPED, "it lies in a blackout")
    return None


def _to_make_up_for(
    connection: Connection, tenant: str, collection: str, slug: str, at: int
) -> tuple[int | None, int | None]:
    """Since when the schedule is due, and the last time it was so, if that is not too long ago."""
    query = select(schedule.c.rule, schedule.c.next_at).where(schedules.of(tenant, collection, slug))
    row, registered = connection.execute(query).first(), in_force(connection, tenant, collection)
    if row is None or registered is None or row.next_at is None or row.next_at > at:
        return None, None
    oldest = at - int(max(registered[1].triggers.catch_up, PUNCTUAL) * 1_000_000)
    since = time_of(max(row.next_at - 1, oldest))
    last = Schedule.model_validate_json(row.rule).latest(since, time_of(at))
    return row.next_at, last and micros(last)


def _known(connection: Connection, tenant: str, collection: str, slug: str, due_at: int) -> Ticked | None:
    query = select(tick.c.outcome, tick.c.reason, tick.c.run_id).where(
        schedules.ticks_of(tenant, collection, slug), tick.c.due_at == due_at
    )
    row = connection.execute(query).first()
    return row and Ticked(Outcome(row.outcome), row.reason, row.run_id)


def _note(connection: Connection, tenant: str, collection: str, slug: str, due_at: int, found: Ticked) -> None:
    key = {"tenant": tenant, "collection": collection, "slug": slug, "due_at": due_at}
    values = {"outcome": found.outcome, "reason": found.reason, "run_id": found.run_id, "noticed_at": now()}
    connection.execute(insert(tick).values(**key, **values))
