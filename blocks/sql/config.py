"""Settings that are changed while everything runs: each change is a version, and none is ever written over."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, and_, func, insert, select, tuple_

from blocks.acting import ACTING
from blocks.sql.audit import audited
from blocks.sql.constructs import Upsert, execute_bound, now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import counter
from blocks.sql.tables import setting as table
from collectors.config import Place, Scope, Value, checked_place, narrowest, narrowing, scope_of, setting
from collectors.errors import Misconfigured

CHANGES = "settings"  # the counter that each change raises
_CHANGED = Upsert(counter, [(counter.c.value, counter.c.value + 1)])
_CHANGES = select(counter.c.value).where(counter.c.name == CHANGES)
_KEY = (table.c.tenant, table.c.collection, table.c.name)
_SHOWN = (table.c.version, table.c.value, table.c.reason, table.c.set_by, table.c.set_at)
_NEWEST = select(*_KEY, func.max(table.c.version).label("version")).group_by(*_KEY).subquery()
_CURRENT = select(*_KEY, *_SHOWN).join(
    _NEWEST, and_(*(column == _NEWEST.c[column.name] for column in (*_KEY, table.c.version)))
)


@dataclass(frozen=True, slots=True)
class Version:
    """`value` is None where it was taken away; `set_at` is microseconds since 1970."""

    number: int
    value: Value | None
    reason: str | None
    set_by: str
    set_at: int


@dataclass(frozen=True, slots=True)
class InForce:
    """What is set, and how narrow the place is where it is."""

    origin: Scope
    version: Version


class Config:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contending
    def set(self, place: Place, name: str, value: object, reason: str | None = None) -> Version:
        """From now on. Raises Misconfigured for what the setting does not take, or not there."""
        checked_place(name, place)
        found = setting(name).checked(value)
        with self._changing() as connection:
            last = _last(connection, place, name)
            return last if last and last.value == found else _added(connection, place, name, found, reason)

    @contending
    def unset(self, place: Place, name: str, reason: str | None = None) -> Version | None:
        """What is set less narrowly is in force then. None where nothing was set."""
        checked_place(name, place)
        with self._changing() as connection:
            last = _last(connection, place, name)
            if last is None or last.value is None:
                return None
            return _added(connection, place, name, None, reason)

    @contending
    def rollback(self, place: Place, name: str, number: int, reason: str | None = None) -> Version:
        """What it was in that version, as a new one. Raises Misconfigured when it has no such version."""
        checked_place(name, place)
        with self._changing() as connection:
            row = connection.execute(_versions(place, name).where(table.c.version == number)).first()
            if row is None:
                raise Misconfigured(
                    "{name} has no version {number} there",
                    "See what it was: collect config history {name}",
                    code="COL-0288",
                    name=name,
                    number=number,
                )
            was = _version(row).value
            value = None if was is None else setting(name).checked(was)
            return _added(connection, place, name, value, reason)

    @repeatable
    def history(self, place: Place, name: str, most: int | None = None, before: int | None = None) -> list[Version]:
        """Newest first, so many at most, of those before that version."""
        checked_place(name, place)
        query = _versions(place, name).order_by(table.c.version.desc()).limit(most)
        if before is not None:
            query = query.where(table.c.version < before)
        with self._database.read() as connection:
            return [_version(row) for row in connection.execute(query)]

    @repeatable
    def in_force(self, tenant: str, collection: str) -> dict[str, InForce]:
        """The settings of which one is set: there, or less narrowly."""
        with self._database.read() as connection:
            found = _current(connection, narrowing(tenant, collection))
        chosen = {name: narrowest(found, name, tenant, collection) for _, _, name in found}
        return {name: each for name, each in chosen.items() if each}

    @contending
    def changes(self) -> int:
        """How many there were: whoever keeps what is set needs to look again when it is another number."""
        with self._database.read() as connection:
            return execute_bound(connection, _CHANGES, {}).scalar() or 0

    @contending
    def values(self) -> dict[tuple[str, str, str], Value]:
        """All that is set, by tenant, collection and name."""
        with self._database.read() as connection:
            found = _current(connection)
        return {key: each.version.value for key, each in found.items() if each.version.value is not None}

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """One after another, so that no change is lost; whoever listens looks again."""
        with self._database.write() as connection:
            execute_bound(connection, _CHANGED, {"name": CHANGES, "value": 1})
            yield connection


def value_of(connection: Connection, name: str, tenant: str, collection: str) -> Value | None:
    """What is set there, or less narrowly; None where nothing is."""
    found = (_last(connection, place, name) for place in narrowing(tenant, collection))
    return next((each.value for each in found if each and each.value is not None), None)


def _current(connection: Connection, places: Sequence[Place] = ()) -> dict[tuple[str, str, str], InForce]:
    query = _CURRENT.where(table.c.value.is_not(None))
    if places:
        query = query.where(tuple_(table.c.tenant, table.c.collection).in_(places))
    rows = connection.execute(query).all()
    return {tuple(row[:3]): InForce(scope_of((row.tenant, row.collection)), _version(row[3:])) for row in rows}


def _added(connection: Connection, place: Place, name: str, value: Value | None, reason: str | None) -> Version:
    last = _last(connection, place, name)
    at = connection.scalar(select(now()))
    version = Version((last.number if last else 0) + 1, value, reason, ACTING.get(), at)
    connection.execute(
        insert(table).values(
            tenant=place[0],
            collection=place[1],
            name=name,
            version=version.number,
            value=None if value is None else orjson.dumps(value).decode(),
            reason=reason,
            set_by=version.set_by,
            set_at=at,
        )
    )
    action, of = ("config unset" if value is None else "config set"), f"{place[1]}/{name}".removeprefix("/")
    before = last.value if last else None
    audited(connection, place[0], action, of, value=value, before=before, reason=reason)
    return version


def _last(connection: Connection, place: Place, name: str) -> Version | None:
    row = connection.execute(_versions(place, name).order_by(table.c.version.desc()).limit(1)).first()
    return _version(row) if row else None


def _versions(place: Place, name: str) -> Any:
    return select(*_SHOWN).where(table.c.tenant == place[0], table.c.collection == place[1], table.c.name == name)


def _version(row: Any) -> Version:
    number, value, *rest = row
    return Version(number, None if value is None else orjson.loads(value), *rest)
