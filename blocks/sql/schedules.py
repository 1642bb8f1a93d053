"""Schedules of what is registered: their rules, their switches, and when each is due next."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, delete, exists, insert, select, update

from blocks.acting import SERVICE, acting
from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import registration, run, schedule, tick
from collectors.errors import Misconfigured
from collectors.models import Collection
from collectors.scheduling import Schedule, micros, time_of
from collectors.states import RunState
from collectors.validating import nearest

_IS_REGISTERED = exists().where(
    registration.c.tenant == schedule.c.tenant,
    registration.c.collection == schedule.c.collection,
    registration.c.retired_at.is_(None),
)
FAILING = "its last {count} runs have failed"


class Switch(NamedTuple):
    """Whether a schedule is switched on here, and whether Prefect was told so; None where it was told nothing."""

    active: bool
    told: bool | None


class Schedules:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def of(self, tenant: str, collection: str | None = None) -> list[dict[str, Any]]:
        """The rows, each with what became of its last tick: `outcome`, `run_id`, `due_at`, `why`."""
        mine = [schedule.c.tenant == tenant, _IS_REGISTERED]
        if collection is not None:
            mine.append(schedule.c.collection == collection)
        query = select(schedule).where(*mine).order_by(schedule.c.collection, schedule.c.slug)
        with self._database.read() as connection:
            return [dict(row) | _last(connection, row) for row in connection.execute(query).mappings().all()]

    @repeatable
    def switches(self, tenant: str, collection: str) -> dict[str, Switch]:
        """By their slugs."""
        c = schedule.c
        with self._database.read() as connection:
            rows = connection.execute(select(c.slug, c.active, c.told).where(of(tenant, collection))).all()
        return {row.slug: Switch(bool(row.active), row.told) for row in rows}

    @contending
    def switch(
        self, tenant: str, collection: str, slug: str | None, active: bool, reason: str | None = None
    ) -> list[str]:
        """On or off, by a person; one of them, or all; answers which. Raises Misconfigured when there is none."""
        with self._database.write() as connection:
            known = connection.scalars(select(schedule.c.slug).where(of(tenant, collection))).all()
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
            connection.execute(update(schedule).where(of(tenant, collection, slug)).values(told=told))


def put(connection: Connection, definition: Collection) -> None:
    """As the definition has them. A switch stays as people have left it, unless the definition itself says otherwise
    than it did."""
    mine = of(definition.tenant, definition.name)
    known = {row["slug"]: row for row in connection.execute(select(schedule).where(mine)).mappings().all()}
    for each in definition.schedule:
        before, rule = known.pop(each.slug, None), each.model_dump_json()
        if before is None:
            _add(connection, definition, each)
        elif before["rule"] != rule or before["next_at"] is None:
            own = of(definition.tenant, definition.name, each.slug)
            # What is due, and not noticed yet, still is.
            at = case((schedule.c.next_at <= now(), schedule.c.next_at), else_=_next(connection, each))
            connection.execute(update(schedule).where(own).values(rule=rule, next_at=at))
            if Schedule.model_validate_json(before["rule"]).active != each.active:
                switch(connection, definition.tenant, definition.name, each.slug, each.active)
    connection.execute(delete(schedule).where(mine, schedule.c.slug.in_([*known])))


def rest(connection: Connection, tenant: str, collection: str) -> None:
    """They are not due any more; their switches are kept for when the collection is registered again."""
    connection.execute(update(schedule).where(of(tenant, collection)).values(next_at=None, told=None))


def switch(
    connection: Connection, tenant: str, collection: str, slug: str, active: bool, reason: str | None = None
) -> None:
    """What was due while it was off is not made up for; nor is what nobody has noticed before."""
    where = of(tenant, collection, slug)
    row = connection.execute(select(schedule.c.rule, schedule.c.active, schedule.c.next_at).where(where)).one()
    if row.active and not active:
        _skip_what_is_due(connection, (tenant, collection, slug), row.next_at)
    rule = Schedule.model_validate_json(row.rule)
    values = {"active": active, "reason": reason, "switched_at": now(), "next_at": _next(connection, rule)}
    if connection.execute(update(schedule).where(where, schedule.c.active.is_not(active)).values(values)).rowcount:
        action = "schedule resume" if active else "schedule pause"
        audited(connection, tenant, action, f"{collection}/{slug}", reason=reason)


def _skip_what_is_due(connection: Connection, which: tuple[str, str, str], due_at: int | None) -> None:
    at = connection.scalar(select(now()))
    known = select(tick.c.outcome).where(ticks_of(*which), tick.c.due_at == due_at)
    if due_at is not None and due_at <= at and connection.scalar(known) is None:
        key = dict(zip(("tenant", "collection", "slug"), which, strict=True))
        said = {"outcome": "skipped", "reason": "it was switched off before it was noticed"}
        connection.execute(insert(tick).values(**key, **said, due_at=due_at, noticed_at=at))


def note_noticed(connection: Connection, tenant: str, collection: str, slug: str, at: int) -> None:
    """The next time comes after this one, and after what was noticed before."""
    where = of(tenant, collection, slug)
    row = connection.execute(select(schedule.c.rule, schedule.c.next_at).where(where)).first()
    if row is not None and row.next_at is not None and row.next_at <= at:
        following = next(Schedule.model_validate_json(row.rule).ticks(time_of(at)), None)
        connection.execute(update(schedule).where(where).values(next_at=following and micros(following)))


def switch_off_if_failing(connection: Connection, run_id: str, most: int) -> None:
    """After `most` failures on end of the schedule that began this run, since it was switched on; 0: never."""
    c = tick.c
    mine = connection.execute(select(c.tenant, c.collection, c.slug).where(c.run_id == run_id)).first()
    if mine is None or not most:
        return
    since = select(schedule.c.switched_at).where(of(*mine)).scalar_subquery()
    query = select(run.c.state).join(tick, c.run_id == run.c.run_id).where(ticks_of(*mine), c.noticed_at > since)
    states = connection.scalars(query.order_by(tick.c.due_at.desc()).limit(most)).all()
    if len(states) == most and set(states) == {RunState.FAILED}:
        with acting(SERVICE):
            switch(connection, *mine, False, FAILING.format(count=most))


def _next(connection: Connection, rule: Schedule) -> int | None:
    following = next(rule.ticks(time_of(connection.scalar(select(now())))), None)
    return following and micros(following)


def _add(connection: Connection, definition: Collection, rule: Schedule) -> None:
    key = {"tenant": definition.tenant, "collection": definition.name, "slug": rule.slug}
    values = {"rule": rule.model_dump_json(), "active": rule.active, "switched_at": now()}
    connection.execute(insert(schedule).values(**key, **values, next_at=_next(connection, rule)))


def _last(connection: Connection, row: Any) -> dict[str, Any]:
    its = ticks_of(row["tenant"], row["collection"], row["slug"])
    query = select(tick.c.outcome, tick.c.run_id, tick.c.due_at, tick.c.reason.label("why")).where(its)
    found = connection.execute(query.order_by(tick.c.due_at.desc()).limit(1)).mappings().first()
    return dict(found) if found else dict.fromkeys(("outcome", "run_id", "due_at", "why"))


def ticks_of(tenant: str, collection: str, slug: str) -> Any:
    return and_(tick.c.tenant == tenant, tick.c.collection == collection, tick.c.slug == slug)


def of(tenant: str, collection: str, slug: str | None = None) -> Any:
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
