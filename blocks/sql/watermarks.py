"""Watermarks: up to which time of its source a collection is complete; and epochs: how often it began anew."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from blocks.sql import leases
from blocks.sql.audit import audited
from blocks.sql.constructs import Upsert, execute_bound, fresh, now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.overlapping import refuse_if_any_held
from blocks.sql.tables import run, watermark


@dataclass(frozen=True, slots=True)
class Mark:
    """`value` and `moved_at` are microseconds since 1970; `moved_by` is a run, or None for a person; `definition` is
    that of the run, as JSON."""

    value: int | None = None
    epoch: int = 0
    moved_by: str | None = None
    moved_at: int | None = None
    definition: str | None = None


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
    def advance(self, tenant: str, collection: str, value: int, run_id: str, instead_of: str | None = None) -> bool:
        """By a run that is complete; never backwards, but in place of what `instead_of` left, a run of another source.

        False when a person has set it since the run was planned: it stays as it was set.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            mark = _mark(connection, tenant, collection)
            if _set_since(connection, mark, run_id):
                return False
            if mark.value is None or value > mark.value or (instead_of and mark.moved_by == instead_of):
                _write(connection, tenant, collection, value=value, epoch=mark.epoch, moved_by=run_id)
            return True


def _set_since(connection: Connection, mark: Mark, run_id: str) -> bool:
    planned = connection.execute(select(run.c.epoch, run.c.started_at).where(run.c.run_id == run_id)).one()
    by_person = mark.moved_by is None and mark.moved_at is not None
    return mark.epoch != (planned.epoch or 0) or (by_person and mark.moved_at > planned.started_at)


def _mark(connection: Connection, tenant: str, collection: str) -> Mark:
    c = watermark.c
    moved = select(c.value, c.epoch, c.moved_by, c.moved_at, run.c.definition).outerjoin(
        run, run.c.run_id == c.moved_by
    )
    found = connection.execute(moved.where(c.tenant == tenant, c.collection == collection)).first()
    return Mark(*found) if found else Mark()


def _write(connection: Connection, tenant: str, collection: str, moved_by: str | None = None, **values: Any) -> None:
    given = {"tenant": tenant, "collection": collection, "moved_by": moved_by, **values}
    moment = connection.scalar(select(now()))
    changes = [(watermark.c[name], fresh(watermark.c[name])) for name in ("value", "epoch", "moved_by", "moved_at")]
    execute_bound(connection, Upsert(watermark, changes), given | {"moved_at": moment})
