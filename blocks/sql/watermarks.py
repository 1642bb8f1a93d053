"""Watermarks: up to which time of its source a collection is complete; and epochs: how often it began anew."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, select

from blocks.sql import leases
from blocks.sql.audit import audited
from blocks.sql.catalog import refuse_if_any_held
from blocks.sql.constructs import Upsert, execute_bound, fresh, now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import watermark


@dataclass(frozen=True, slots=True)
class Mark:
    """`value` and `moved_at` are microseconds since 1970; `moved_by` is a run, or None for a person."""

    value: int | None = None
    epoch: int = 0
    moved_by: str | None = None
    moved_at: int | None = None


class Watermarks:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def of(self, tenant: str, collection: str) -> Mark:
        with self._database.read() as connection:
            return _mark(connection, tenant, collection)

    @contending
    def set(self, tenant: str, collection: str, value: int | None) -> None:
        """By a person, also backwards; None: the next incremental run reads everything. Raises Refused while a run is
        under way."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            refuse_if_any_held(connection, tenant, collection)
            mark = _mark(connection, tenant, collection)
            _write(connection, tenant, collection, value=value, epoch=mark.epoch)
            action = "watermark reset" if value is None else "watermark set"
            audited(connection, tenant, action, collection, value=value, before=mark.value)

    @contending
    def bump(self, tenant: str, collection: str) -> int:
        """Whatever is read from now on is newer than all that was; answers the epoch. Raises Refused as `set` does."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            refuse_if_any_held(connection, tenant, collection)
            mark = _mark(connection, tenant, collection)
            _write(connection, tenant, collection, value=None, epoch=mark.epoch + 1)
            audited(connection, tenant, "epoch bump", collection, epoch=mark.epoch + 1, before=mark.value)
            return mark.epoch + 1

    @repeatable
    def advance(self, tenant: str, collection: str, value: int, run_id: str) -> None:
        """By a run that is complete; never backwards."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            mark = _mark(connection, tenant, collection)
            if mark.value is None or value > mark.value:
                _write(connection, tenant, collection, value=value, epoch=mark.epoch, moved_by=run_id)


def _mark(connection: Connection, tenant: str, collection: str) -> Mark:
    c = watermark.c
    mine = and_(c.tenant == tenant, c.collection == collection)
    found = connection.execute(select(c.value, c.epoch, c.moved_by, c.moved_at).where(mine)).first()
    return Mark(*found) if found else Mark()


def _write(connection: Connection, tenant: str, collection: str, moved_by: str | None = None, **values: Any) -> None:
    given = {"tenant": tenant, "collection": collection, "moved_by": moved_by, **values}
    moment = connection.scalar(select(now()))
    changes = [(watermark.c[name], fresh(watermark.c[name])) for name in ("value", "epoch", "moved_by", "moved_at")]
    execute_bound(connection, Upsert(watermark, changes), given | {"moved_at": moment})
