"""Schedules of what is registered: their rules, their switches, and when each is due next."""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import run, schedule, tick
from collectors.errors import Misconfigured
from collectors.models import Collection
from collectors.scheduling import Schedule
from collectors.states import RunState
from collectors.validating import nearest

FAILING = "its last {count} runs have failed"


class Schedules:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def of(self, tenant: str, collection: str | None = None) -> list[dict[str, Any]]:
        """The rows, each with what became of its last tick: `outcome`, `run_id`, `due_at`, `why`."""
        mine = [schedule.c.tenant == tenant]
        if collection is not None:
            mine.append(schedule.c.collection == collection)
        query = select(schedule).where(*mine).order_by(schedule.c.collection, schedule.c.slug)
        with self._database.read() as connection:
            return [dict(row) | _last(connection, row) for row in connection.execute(query).mappings().all()]

    @contending
    def switch(
        self, tenant: str, collection: str, slug: str | None, active: bool, reason: str | None = None
    ) -> list[str]:
        """On or off, by a person; one of them, or all; answers which. Raises Misconfigured when there is none."""
        with self._database.write() as connection:
            known = connection.scalars(select(schedule.c.slug).where(_of(tenant, collection))).all()
            meant = [each for each in known if slug in (None, each)]
            if not meant:
                raise _none(collection, slug, known)
            for each in meant:
                switch(connection, tenant, collection, each, active, reason)
        return meant

    @repeatable
    def note_told(self, tenant: str, collection: str, slug: str, told: bool | None) -> None:
        """Whether Prefect has it switched on."""
        with self._database.write() as connection:
            connection.execute(update(schedule).where(_of(tenant, collection, slug)).values(told=told))


def put(connection: Connection, definition: Collection) -> None:
    """As the definition has them. A switch stays as people have left it, unless the definition itself says otherwise
    than it did."""
    mine = _of(definition.tenant, definition.name)
    rules = dict(connection.execute(select(schedule.c.slug, schedule.c.rule).where(mine)).all())
    for each in definition.schedule:
        before, rule = rules.pop(each.slug, None), each.model_dump_json()
        if before is None:
            _add(connection, definition, each)
        elif before != rule:
            own = _of(definition.tenant, definition.name, each.slug)
            connection.execute(update(schedule).where(own).values(rule=rule, next_at=next_of(connection, each)))
            if Schedule.model_validate_json(before).active != each.active:
                switch(connection, definition.tenant, definition.name, each.slug, each.active)
    connection.execute(delete(schedule).where(mine, schedule.c.slug.in_([*rules])))


def drop(connection: Connection, tenant: str, collection: str) -> None:
    connection.execute(delete(schedule).where(_of(tenant, collection)))


def switch(
    connection: Connection, tenant: str, collection: str, slug: str, active: bool, reason: str | None = None
) -> None:
    """What was due while it was off is not made up for."""
    where = _of(tenant, collection, slug)
    rule = Schedule.model_validate_json(connection.scalar(select(schedule.c.rule).where(where)))
    values = {"active": active, "reason": reason, "switched_at": now(), "next_at": next_of(connection, rule)}
    if connection.execute(update(schedule).where(where, schedule.c.active.is_not(active)).values(values)).rowcount:
        action = "schedule resume" if active else "schedule pause"
        audited(connection, tenant, action, f"{collection}/{slug}", reason=reason)


def note_noticed(connection: Connection, tenant: str, collection: str, slug: str, due_at: int) -> None:
    """The next time comes after this one, and after what was noticed before."""
    where = _of(tenant, collection, slug)
    row = connection.execute(select(schedule.c.rule, schedule.c.next_at).where(where)).first()
    if row is None or (row.next_at is not None and row.next_at > due_at):
        return
    following = next(Schedule.model_validate_json(row.rule).ticks(time_of(due_at)), None)
    connection.execute(update(schedule).where(where).values(next_at=following and micros(following)))


def switch_off_if_failing(connection: Connection, run_id: str, most: int) -> None:
    """After `most` failures on end of the schedule that began this run, since it was switched on; 0: never."""
    mine = connection.execute(select(tick).where(tick.c.run_id == run_id)).mappings().first()
    if mine is None or not most:
        return
    of = mine["tenant"], mine["collection"], mine["slug"]
    since = select(schedule.c.switched_at).where(_of(*of)).scalar_subquery()
    its = and_(tick.c.tenant == of[0], tick.c.collection == of[1], tick.c.slug == of[2], tick.c.noticed_at > since)
    query = select(run.c.state).join(tick, tick.c.run_id == run.c.run_id).where(its)
    states = connection.scalars(query.order_by(tick.c.due_at.desc()).limit(most)).all()
    if len(states) == most and set(states) == {RunState.FAILED}:
        switch(connection, *of, False, FAILING.format(count=most))


def next_of(connection: Connection, rule: Schedule) -> int | None:
    following = next(rule.ticks(time_of(connection.scalar(select(now())))), None)
    return following and micros(following)


def latest(rule: Schedule, since: datetime, until: datetime) -> datetime | None:
    """The last time it was due in (since, until]; looked for from the end, as there may be very many."""
    back = timedelta(minutes=1)
    while True:
        found = deque(_between(rule, max(since, until - back), until), maxlen=1)
        if found or until - back <= since:
            return next(iter(found), None)
        back *= 4


def micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def time_of(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _between(rule: Schedule, since: datetime, until: datetime) -> Iterator[datetime]:
    for each in rule.ticks(since):
        if each > until:
            return
        yield each


def _add(connection: Connection, definition: Collection, rule: Schedule) -> None:
    key = {"tenant": definition.tenant, "collection": definition.name, "slug": rule.slug}
    values = {"rule": rule.model_dump_json(), "active": rule.active, "switched_at": now()}
    connection.execute(insert(schedule).values(**key, **values, next_at=next_of(connection, rule)))


def _last(connection: Connection, row: Any) -> dict[str, Any]:
    its = and_(tick.c.tenant == row["tenant"], tick.c.collection == row["collection"], tick.c.slug == row["slug"])
    query = select(tick.c.outcome, tick.c.run_id, tick.c.due_at, tick.c.reason.label("why")).where(its)
    found = connection.execute(query.order_by(tick.c.due_at.desc()).limit(1)).mappings().first()
    return dict(found) if found else dict.fromkeys(("outcome", "run_id", "due_at", "why"))


def _of(tenant: str, collection: str, slug: str | None = None) -> Any:
    mine = and_(schedule.c.tenant == tenant, schedule.c.collection == collection)
    return mine if slug is None else and_(mine, schedule.c.slug == slug)


def _none(collection: str, slug: str | None, known: Any) -> Misconfigured:
    if slug is None:
        what, remedy = "{collection} has no schedule", "Give it one in its file, and: collect register FILE"
        return Misconfigured(what, remedy, code="COL-0283", collection=collection)
    return Misconfigured(
        "{collection} has no schedule {slug!r}. {guess}",
        "List them with: collect schedule list {collection}",
        code="COL-0283",
        collection=collection,
        slug=f"{slug:.64}",
        guess=nearest(slug, known),
    )
