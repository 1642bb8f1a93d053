"""Sweeps in the rows: what was not seen, what an earlier sweep had missed, and tombstones."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, func, literal, or_, select, update

from blocks.sql.constructs import greatest, now
from blocks.sql.database import Database, repeatable
from blocks.sql.ledger import IS_OPEN
from blocks.sql.tables import RECORDS, batch, quarantine, run
from blocks.sql.windows import found_in_each, window
from collectors.errors import Refused
from collectors.models import EPOCH_PART, SOURCE_PART, Document
from collectors.states import OPEN_RUNS
from collectors.sweeping import CHUNK, Sweep, Unseen

AN_HOUR = 3600 * 1_000_000


class Sweeps:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def refuse_open(self, sweep: Sweep) -> None:
        with self._database.read() as connection:
            nameless = connection.scalar(
                select(func.count()).where(quarantine.c.run_id == sweep.run_id, quarantine.c.record_id.is_(None))
            )
            elsewhere = connection.scalar(_open_elsewhere(sweep))
        if nameless:
            raise Refused(
                "{count:,} refused records have no id, so nobody can tell which are gone: nothing is deleted",
                "See them: collect quarantine {run}; when they are put right in the source, collect anew.",
                code="COL-0415",
                count=nameless,
                run=sweep.run_id,
            )
        if elsewhere:
            raise Refused(
                "what run {other} has read is not in the stores yet: nothing is deleted",
                "See where it stands: collect ledger {other}; then collect anew.",
                code="COL-0416",
                other=elsewhere,
            )

    @repeatable
    def live(self, sweep: Sweep) -> int:
        with self._database.read() as connection:
            return sum(
                connection.scalar(select(func.count()).where(_of(table, sweep), table.c.deleted.is_(False))) or 0
                for table in RECORDS.values()
            )

    @repeatable
    def unseen(self, sweep: Sweep) -> list[Unseen]:
        with self._database.read() as connection:
            refused = set(connection.scalars(select(quarantine.c.record_id).where(quarantine.c.run_id == sweep.run_id)))
            before = _ended_before(connection, sweep)
            found = [
                Unseen(kind, id, parent_id, missing is not None and seen < missing and before(missing))
                for kind, table in RECORDS.items()
                for id, parent_id, seen, missing in connection.execute(
                    select(table.c.id, table.c.parent_id, table.c.seen, table.c.missing).where(_unseen(table, sweep))
                )
            ]
        return [each for each in found if each.id not in refused]

    @repeatable
    def suspect(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        c = RECORDS[kind].c
        first = or_(c.missing.is_(None), c.missing <= c.seen)
        self._change(sweep, kind, ids, and_(_unseen(RECORDS[kind], sweep), first), missing=sweep.number)

    @repeatable
    def acquit(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        self._change(sweep, kind, ids, _unseen(RECORDS[kind], sweep), missing=None)

    @repeatable
    def bury(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        table = RECORDS[kind]
        self._change(
            sweep,
            kind,
            ids,
            _unseen(table, sweep),
            deleted=True,
            tombstone=sweep.number,
            version=_raised(table, sweep),
            last_batch="",
            update_time=now(),
        )

    def half_buried(self, sweep: Sweep, kind: str) -> Iterator[dict[str, Document]]:
        return found_in_each(lambda after: self._half_buried(sweep, kind, after))

    @repeatable
    def _half_buried(self, sweep: Sweep, kind: str, after: str) -> tuple[dict[str, Document], str | None]:
        """Those among the next records after an id, and the last id of those."""
        c = RECORDS[kind].c
        columns = (c.id, c.parent_id, c.version, c.content_hash, c.name, c.path, c.create_time, c.update_time)
        query = select(*columns).where(_half(RECORDS[kind], sweep))
        with self._database.read() as connection:
            here, last = window(connection, RECORDS[kind], sweep.tenant, sweep.collection, after)
            found = connection.execute(query.where(here))
            return {row.id: _tombstone(sweep, kind, row) for row in found}, last

    @repeatable
    def buried_by(self, sweep: Sweep) -> int:
        with self._database.read() as connection:
            return sum(
                connection.scalar(select(func.count()).where(_of(table, sweep), table.c.tombstone == sweep.number)) or 0
                for table in RECORDS.values()
            )

    @repeatable
    def buried(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        self._change(sweep, kind, ids, _half(RECORDS[kind], sweep), last_batch=_batch_of(sweep))

    def _change(self, sweep: Sweep, kind: str, ids: Sequence[str], which: Any, **values: Any) -> None:
        table = RECORDS[kind]
        for start in range(0, len(ids), CHUNK):
            some = table.c.id.in_(ids[start : start + CHUNK])
            with self._database.write() as connection:
                connection.execute(update(table).where(which, some).values(values))


def _of(table: Table, sweep: Sweep) -> Any:
    return and_(table.c.tenant == sweep.tenant, table.c.collection == sweep.collection)


def _unseen(table: Table, sweep: Sweep) -> Any:
    return and_(_of(table, sweep), table.c.deleted.is_(False), table.c.seen < sweep.number)


def _ended_before(connection: Connection, sweep: Sweep) -> Callable[[int], bool]:
    """Whether a sweep had ended when this one began: what two missed that went on side by side was missed once."""
    mine = select(run.c.created_at).where(run.c.run_id == sweep.run_id).scalar_subquery()
    beside = select(run.c.sweep).where(
        *(run.c.tenant == sweep.tenant, run.c.collection == sweep.collection, run.c.mode == "full"),
        or_(run.c.ended_at.is_(None), run.c.ended_at > mine),
    )
    overlapping = set(connection.scalars(beside))
    return lambda number: number < sweep.number and number not in overlapping


def _half(table: Table, sweep: Sweep) -> Any:
    return and_(_of(table, sweep), table.c.deleted.is_(True), table.c.tombstone.is_not(None), table.c.last_batch == "")


def _raised(table: Table, sweep: Sweep) -> Any:
    """Newer than whatever was observed before the sweep began, and older than what is observed later."""
    source = func.substr(table.c.version, EPOCH_PART + 1, SOURCE_PART - EPOCH_PART)
    epoch = greatest(func.substr(table.c.version, 1, EPOCH_PART), literal(f"{sweep.epoch:04x}"))
    return epoch.concat(source).concat(literal(f"{sweep.number:016x}"))


def _batch_of(sweep: Sweep) -> str:
    return f"{sweep.run_id}/sweep/0.0/{sweep.number}"


def _tombstone(sweep: Sweep, kind: str, row: Any) -> Document:
    return Document(
        tenant=sweep.tenant,
        collection=sweep.collection,
        kind=kind,
        id=row.id,
        version=row.version,
        deleted=True,
        content_hash=row.content_hash,
        name=row.name,
        path=row.path,
        parent_id=row.parent_id,
        batch_id=_batch_of(sweep),
        created_at=row.create_time,
        updated_at=row.update_time,
    )


def _open_elsewhere(sweep: Sweep) -> Any:
    """A run whose batches may still come: it goes on, or has published them within the hour.

    So may what this one had published before it was planned anew, which counts no more.
    """
    recent = batch.c.published_at > now() - literal(AN_HOUR)
    of = (batch.c.tenant == sweep.tenant, batch.c.collection == sweep.collection)
    others = and_(batch.c.run_id != sweep.run_id, batch.c.confirmed.is_(True), or_(run.c.state.in_(OPEN_RUNS), recent))
    own = and_(batch.c.run_id == sweep.run_id, batch.c.observation < sweep.number, recent)
    joined = select(run.c.run_id).join(batch, batch.c.run_id == run.c.run_id)
    return joined.where(*of, IS_OPEN, or_(others, own)).limit(1)
