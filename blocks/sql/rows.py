"""Rows and ledger in the catalog's database: guarded upserts, the newest version wins."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, and_, bindparam, case, exists, func, literal, or_, select, update

from blocks.sql import ledger
from blocks.sql.applying import applied, withdrawn
from blocks.sql.branches import Branches
from blocks.sql.constructs import execute_bound
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import RECORDS, test_case, test_directory
from blocks.sql.tables import batch as batches
from blocks.sql.windows import found_in_each, window, windows
from collectors.models import Batch, Document, Quarantined
from collectors.paths import Misplaced, Move

CHUNK = 1000
_ONE = {
    kind: select(*(column.label(column.key) for column in table.c)).where(
        *(table.c[name] == bindparam(name) for name in ("tenant", "collection", "id"))
    )
    for kind, table in RECORDS.items()
}


class Rows:
    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- loading -----------------------------------------------------------------------------------------

    @contending
    def apply(self, batch: Batch, refused: Sequence[Quarantined] = ()) -> list[Document]:
        with self._database.write() as connection:
            return applied(connection, batch, refused)

    @contending
    def try_out(self, batch: Batch) -> None:
        with self._database.write() as connection, connection.begin_nested() as trial:
            applied(connection, batch, ())
            trial.rollback()

    @contending
    def withdraw(self, batch: Batch, refused: Sequence[Quarantined]) -> None:
        with self._database.write() as connection:
            withdrawn(connection, batch, refused)

    @contending
    def finish(self, batch: Batch) -> None:
        # Should the machine forget this, the batch counts as unfinished and its documents are written again.
        with self._database.write(durable=False) as connection:
            ledger.finish(connection, batch)

    # ---- closing -----------------------------------------------------------------------------------------

    @repeatable
    def directories(
        self, tenant: str, collection: str
    ) -> list[tuple[str, str | None, str, str | None, int | None, str]]:
        """All (id, parent id, name, path, level, version), gone ones too: their children still hang below them."""
        c = test_directory.c
        query = select(c.id, c.parent_id, c.name, c.path, c.level, c.version)
        query = query.where(_of(test_directory, tenant, collection))
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def misplaced_cases(self, tenant: str, collection: str) -> Iterator[list[Misplaced]]:
        """Cases whose path is not their directory's path and their name, in chunks.

        Shortened paths are always among them: only the caller can tell whether they are right.
        """
        return found_in_each(lambda after: self._misplaced(tenant, collection, after))

    @repeatable
    def _misplaced(self, tenant: str, collection: str, after: str) -> tuple[list[Misplaced], str | None]:
        """Among the next cases after an id, and the last id of those."""
        c, d = test_case.c, test_directory.c
        above = case((c.parent_id.is_(None), literal("")), else_=d.path)
        name = func.replace(func.replace(c.name, "\\", "\\\\"), "/", "\\/")
        of = and_(d.tenant == c.tenant, d.collection == c.collection, d.id == c.parent_id)
        query = select(c.id, c.parent_id, c.name, c.path, c.version).select_from(
            test_case.outerjoin(test_directory, of)
        )
        with self._database.read() as connection:
            here, last = window(connection, test_case, tenant, collection, after)
            found = connection.execute(query.where(here, c.path.is_distinct_from(above + "/" + name)))
            return [tuple(row) for row in found], last

    @repeatable
    def replace(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        """Set path (and level) where the path is as found, in chunks, so that readers and loaders go on meanwhile.

        Not of a record whose document is on its way: with the path that its row had, which only the row can tell.
        """
        table = RECORDS[kind]
        values = {"path": bindparam("new_path")} | ({"level": bindparam("new_level")} if kind == "directory" else {})
        as_found = table.c.path.is_not_distinct_from(bindparam("found"))
        statement = (
            update(table)
            .where(_of(table, tenant, collection), table.c.id == bindparam("key"), as_found, ~_on_its_way(table))
            .values(values)
        )
        rows = [
            {
                "key": move.id,
                "found": move.found,
                "new_path": move.place and move.place.path,
                "new_level": move.place and move.place.level,
            }
            for move in moves
        ]
        for start in range(0, len(rows), CHUNK):
            with self._database.write() as connection:
                connection.execute(statement, rows[start : start + CHUNK])

    # ---- reading -----------------------------------------------------------------------------------------

    def live(self, tenant: str, collection: str, kind: str) -> Iterator[list[dict[str, Any]]]:
        """All live rows of a kind in chunks, by id."""
        return self._chunks(tenant, collection, kind, "", RECORDS[kind].c.deleted.is_(False))

    def all(self, tenant: str, collection: str, kind: str) -> Iterator[list[dict[str, Any]]]:
        """All rows of a kind in chunks, by id; gone ones included."""
        return self._chunks(tenant, collection, kind, "")

    def changed_since(
        self, tenant: str, collection: str, kind: str, at: int, after: str = ""
    ) -> Iterator[list[dict[str, Any]]]:
        """Rows that changed later than `at` (microseconds since 1970), those after an id, in chunks."""
        return self._chunks(tenant, collection, kind, after, RECORDS[kind].c.update_time > at)

    def _chunks(
        self, tenant: str, collection: str, kind: str, first: str, *which: Any
    ) -> Iterator[list[dict[str, Any]]]:
        return found_in_each(lambda after: self._next(tenant, collection, kind, after, which), first)

    @repeatable
    def _next(
        self, tenant: str, collection: str, kind: str, after: str, which: Sequence[Any]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Those among the next rows after an id, and the last id of all of these."""
        table = RECORDS[kind]
        query = select(*(column.label(column.key) for column in table.c)).where(*which).order_by(table.c.id)
        with self._database.read() as connection:
            here, last = window(connection, table, tenant, collection, after)
            return [dict(row) for row in connection.execute(query.where(here)).mappings()], last

    @repeatable
    def marks(self, tenant: str, collection: str, kind: str, after: str, limit: int) -> dict[str, tuple[str, bool]]:
        """The (content hash, whether it is gone) of the next rows after an id, gone ones included."""
        c = RECORDS[kind].c
        query = select(c.id, c.content_hash, c.deleted).where(_of(RECORDS[kind], tenant, collection), c.id > after)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(c.id).limit(limit))
            return {id: (content_hash, bool(deleted)) for id, content_hash, deleted in found}

    @repeatable
    def make_due(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> None:
        """Whatever comes of these records next, their documents are written again."""
        table = RECORDS[kind]
        for start in range(0, len(ids), CHUNK):
            some = table.c.id.in_(ids[start : start + CHUNK])
            with self._database.write() as connection:
                connection.execute(update(table).where(_of(table, tenant, collection), some).values(last_batch=""))

    @repeatable
    def of_id(self, tenant: str, collection: str, kind: str, id: str) -> dict[str, Any] | None:
        """The row of one record, also of one that is gone."""
        values = {"tenant": tenant, "collection": collection, "id": id}
        with self._database.read() as connection:
            row = execute_bound(connection, _ONE[kind], values).mappings().first()
        return dict(row) if row else None

    @repeatable
    def began(self, tenant: str, collection: str) -> int | None:
        """When its first record was stored; microseconds since 1970."""
        with self._database.read() as connection:
            firsts = (select(func.min(t.c.create_time)).where(_of(t, tenant, collection)) for t in RECORDS.values())
            return min(filter(None, map(connection.scalar, firsts)), default=None)

    @contextmanager
    def branches(self, tenant: str, collection: str) -> Iterator[Branches]:
        with self._database.read() as connection:
            yield Branches(connection, tenant, collection)

    @repeatable
    def cases_by_directory(self, tenant: str, collection: str) -> dict[str | None, int]:
        counts = Counter[str | None]()
        with self._database.read() as connection:
            for here in windows(connection, test_case, tenant, collection):
                lying = select(test_case.c.parent_id).where(here, test_case.c.deleted.is_(False))
                counts.update(connection.scalars(lying))
        return dict(counts)

    @repeatable
    def count(self, tenant: str, collection: str) -> dict[str, int]:
        """Live rows by kind."""
        with self._database.read() as connection:
            return {
                kind: connection.scalar(
                    select(func.count()).where(_of(table, tenant, collection), table.c.deleted.is_(False))
                )
                or 0
                for kind, table in RECORDS.items()
            }

    @repeatable
    def holds(self, tenant: str, collection: str | None, path: str) -> bool:
        """Whether a live record has this path or hangs below it."""
        path = path.rstrip("/")
        with self._database.read() as connection:
            for table in RECORDS.values():
                c = table.c
                inside = or_(c.path == path, func.substr(c.path, 1, len(path) + 1) == f"{path}/")
                query = select(c.id).where(c.tenant == tenant, c.deleted.is_(False), inside).limit(1)
                if collection is not None:
                    query = query.where(c.collection == collection)
                if connection.execute(query).first():
                    return True
        return False


def _on_its_way(table: Table) -> Any:
    return exists().where(batches.c.batch_id == table.c.last_batch, ledger.IS_OPEN)


def _of(table: Table, tenant: str, collection: str) -> Any:
    return and_(table.c.tenant == tenant, table.c.collection == collection)
