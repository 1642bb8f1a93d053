"""Rows and ledger in the catalog's database: guarded upserts, the newest version wins."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from blocks.sql import ledger
from blocks.sql.sqlite import AMONG, Database, execute_among, execute_many, now
from blocks.sql.tables import RECORDS, test_case, test_directory
from collectors.loading import Judged, Stored, judge, newest
from collectors.models import SOURCE_PART, Applied, Batch, Document, Record, Verdict
from collectors.paths import Move, Place, below, derive

CHUNK = 1000
Places = dict[tuple[str, str], Place | None]
KEPT_AT_UPDATE = frozenset({"tenant", "collection", "id", "create_time", "first_batch"})


class Rows:
    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- loading -----------------------------------------------------------------------------------------

    def apply(self, batch: Batch) -> Applied:
        records = newest(batch.records)
        with self._database.write() as connection:
            unfinished = ledger.unfinished(connection, batch)
            judged = _judged(connection, batch, records, unfinished)
            places = _places(connection, batch, [each.record for each in judged if each.write_document])
            _write(connection, batch, judged, places, connection.scalar(_NOW))
            counts = Counter(each.verdict for each in judged)
            counts[Verdict.SUPERSEDED] += len(batch.records) - len(records)
            ledger.enter(connection, batch, counts)
            touched = _touched(connection, batch, judged, again=unfinished.get(batch.batch_id) == "rows")
        return Applied([_document(batch, each, places) for each in judged if each.write_document], touched)

    def finish(self, batch: Batch) -> None:
        # Should the machine forget this, the batch counts as unfinished and its documents are written again.
        with self._database.write(durable=False) as connection:
            ledger.finish(connection, batch)

    # ---- closing -----------------------------------------------------------------------------------------

    def directories(self, tenant: str, collection: str) -> list[tuple[str, str | None, str, str | None, int | None]]:
        """All (id, parent id, name, path, level), gone ones included: their children still hang below them."""
        t = test_directory
        query = select(t.c.id, t.c.parent_id, t.c.name, t.c.path, t.c.level).where(_of(t, tenant, collection))
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def misplaced_cases(self, tenant: str, collection: str) -> list[tuple[str, str | None, str, str | None]]:
        """The (id, directory id, name, path) of cases whose path is not their directory's path and their name.

        Shortened paths are always among them: only the caller can tell whether they are right.
        """
        c, d = test_case.c, test_directory.c
        above = case((c.parent_id.is_(None), literal("")), else_=d.path)
        name = func.replace(func.replace(c.name, "\\", "\\\\"), "/", "\\/")
        query = (
            select(c.id, c.parent_id, c.name, c.path)
            .select_from(
                test_case.outerjoin(
                    test_directory, and_(d.tenant == c.tenant, d.collection == c.collection, d.id == c.parent_id)
                )
            )
            .where(_of(test_case, tenant, collection), c.path.is_distinct_from(above + "/" + name))
        )
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def replace(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        """Set path (and level) where the path is as found, in chunks, so that readers and loaders go on meanwhile."""
        table = RECORDS[kind]
        values = {"path": bindparam("new_path")} | ({"level": bindparam("new_level")} if kind == "directory" else {})
        as_found = table.c.path.is_not_distinct_from(bindparam("found"))
        statement = (
            update(table).where(_of(table, tenant, collection), table.c.id == bindparam("key"), as_found).values(values)
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
        table, after = RECORDS[kind], ""
        while True:
            query = (
                select(*(column.label(column.key) for column in table.c))
                .where(_of(table, tenant, collection), table.c.deleted.is_(False), table.c.id > after)
                .order_by(table.c.id)
                .limit(CHUNK)
            )
            with self._database.read() as connection:
                rows = [dict(row) for row in connection.execute(query).mappings()]
            if not rows:
                return
            yield rows
            after = rows[-1]["id"]

    def of_id(self, tenant: str, collection: str, kind: str, id: str) -> dict[str, Any] | None:
        """The row of one record, also of one that is gone."""
        table = RECORDS[kind]
        query = select(*(column.label(column.key) for column in table.c)).where(
            _of(table, tenant, collection), table.c.id == id
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return dict(row) if row else None

    def cases_by_directory(self, tenant: str, collection: str) -> dict[str | None, int]:
        c = test_case.c
        query = (
            select(c.parent_id, func.count())
            .where(_of(test_case, tenant, collection), c.deleted.is_(False))
            .group_by(c.parent_id)
        )
        with self._database.read() as connection:
            return dict(tuple(row) for row in connection.execute(query))

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

    def directories_and_parents(self, tenant: str, collection: str) -> set[str]:
        """The ids of all live directories, and of all that one of them names as its parent."""
        with self._database.read() as connection:
            return _directories_and_parents(connection, tenant, collection)

    def children(self, tenant: str, collection: str, parents: Sequence[str | None]) -> dict[str | None, dict[str, Any]]:
        """What stands in each of these directories (None: at the top): live directories, and how many live cases."""
        found: dict[str | None, dict[str, Any]] = {id: {"directories": [], "cases": 0} for id in parents}
        d, c = test_directory.c, test_case.c
        of_directories = select(d.id, d.parent_id, d.name, d.path, d.level).order_by(d.id)
        of_cases = select(c.parent_id, func.count()).group_by(c.parent_id)
        with self._database.read() as connection:
            for start in range(0, len(parents), CHUNK):
                some = parents[start : start + CHUNK]
                for row in connection.execute(of_directories.where(*_in_any(test_directory, tenant, collection, some))):
                    found[row.parent_id]["directories"].append(dict(row._mapping))
                for id, number in connection.execute(of_cases.where(*_in_any(test_case, tenant, collection, some))):
                    found[id]["cases"] = number
        return found


def _directories_and_parents(connection: Connection, tenant: str, collection: str) -> set[str]:
    c = test_directory.c
    query = select(c.id, c.parent_id).where(_of(test_directory, tenant, collection), c.deleted.is_(False))
    return {id for row in connection.execute(query) for id in row if id is not None}


def _in_any(table: Table, tenant: str, collection: str, parents: Sequence[str | None]) -> tuple[Any, ...]:
    parent = table.c.parent_id
    inside = parent.in_([id for id in parents if id is not None])
    if None in parents:
        inside = or_(inside, parent.is_(None))
    return _of(table, tenant, collection), table.c.deleted.is_(False), inside


def _of(table: Table, tenant: str, collection: str) -> Any:
    return and_(table.c.tenant == tenant, table.c.collection == collection)


def _judged(
    connection: Connection, batch: Batch, records: Sequence[Record], unfinished: Mapping[str, str]
) -> list[Judged]:
    judged: list[Judged] = []
    for kind, table in RECORDS.items():
        group = [record for record in records if record.kind == kind]
        stored = _stored(connection, table, batch, [record.id for record in group]) if group else {}
        judged += [judge(stored.get(record.id), record, batch, unfinished.keys()) for record in group]
    return judged


def _stored(connection: Connection, table: Table, batch: Batch, ids: Sequence[str]) -> dict[str, Stored]:
    found = execute_among(connection, _stored_by_id(table), _in(batch), ids)
    return {id: Stored(*rest) for id, *rest in found.all()}


@cache
def _stored_by_id(table: Table) -> Any:
    c = table.c
    return select(c.id, c.version, c.content_hash, c.deleted, c.first_batch, c.last_batch, c.parent_id).where(
        *_of_batch(table), c.id.in_(AMONG)
    )


def _of_batch(table: Table) -> tuple[Any, ...]:
    return table.c.tenant == bindparam("of_tenant"), table.c.collection == bindparam("of_collection")


def _in(batch: Batch) -> dict[str, Any]:
    return {"of_tenant": batch.tenant, "of_collection": batch.collection}


def _places(connection: Connection, batch: Batch, records: Sequence[Record]) -> Places:
    """Where the records hang, as far as their parents are known by now; closing the run puts right what is not."""
    directories = [(r.id, r.parent_id, r.name) for r in records if r.kind == "directory"]
    own = {id for id, _, _ in directories}
    parents = {r.parent_id for r in records if r.parent_id is not None and r.parent_id not in own}
    found = execute_among(connection, _PARENTS, _in(batch), sorted(parents)) if parents else ()
    known = {id: Place(path, level) for id, path, level in found}
    places: Places = {("directory", id): place for id, place in derive(directories, known).items()}
    for record in records:
        if record.kind != "directory":
            parent = places.get(("directory", record.parent_id or ""), known.get(record.parent_id or ""))
            places[record.kind, record.id] = below(parent, record.name) if parent or record.parent_id is None else None
    return places


_NOW = select(now())
_PARENTS = select(test_directory.c.id, test_directory.c.path, test_directory.c.level).where(
    *_of_batch(test_directory),
    test_directory.c.id.in_(AMONG),
    test_directory.c.path.is_not(None),
)


def _write(connection: Connection, batch: Batch, judged: Sequence[Judged], places: Places, moment: int) -> None:
    for kind, table in RECORDS.items():
        of_kind = [each for each in judged if each.record.kind == kind]
        written = [_row(batch, each, places[kind, each.record.id], moment) for each in of_kind if each.write_row]
        if written:
            execute_many(connection, _upsert(table), written)
        _touch(connection, table, batch, [each for each in of_kind if not each.write_row])


def _row(batch: Batch, each: Judged, place: Place | None, moment: int) -> tuple[Any, ...]:
    record = each.record
    return (
        *(batch.tenant, batch.collection, record.id, record.parent_id, record.name, place and place.path),
        *(_level_or_status(record, place), moment, moment, each.version, record.content_hash, batch.observation),
        *(record.deleted, batch.batch_id, batch.batch_id),
    )


def _level_or_status(record: Record, place: Place | None) -> int | None:
    if record.kind == "directory":
        return place and place.level
    status = record.metadata.get("status")
    return status if isinstance(status, int) else None


def _touch(connection: Connection, table: Table, batch: Batch, judged: Sequence[Judged]) -> None:
    """Raise `seen` and version of records that are as they were, or a late older change would win over them."""
    groups: defaultdict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for each in judged:
        groups[_new_source(each), batch.batch_id if each.write_document else None].append(each.record.id)
    for (source, last_batch), ids in groups.items():
        values = {"new_source": source, "new_batch": last_batch, "new_observation": f"{batch.observation:016x}"}
        execute_among(connection, _raised(table), _in(batch) | values | {"new_seen": batch.observation}, ids)


def _new_source(each: Judged) -> str | None:
    """The part of the version that stays when only the observation is new, as it mostly is: None then."""
    mine = each.version[:SOURCE_PART]
    return None if each.stored and each.stored.version.startswith(mine) else mine


@cache
def _upsert(table: Table) -> Any:
    statement = insert(table)
    new = statement.excluded
    changes = [(column, new[column.key]) for column in table.c if column.key not in KEPT_AT_UPDATE | {"version"}]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        # The guard compares with the stored version: elsewhere assignments run left to right, so it is set last.
        set_=dict([*changes, (table.c.version, new["version"])]),
        where=new["version"] >= table.c.version,
    )


@cache
def _raised(table: Table) -> Any:
    c = table.c
    source = func.coalesce(bindparam("new_source"), func.substr(c.version, 1, SOURCE_PART))
    return (
        update(table)
        .where(*_of_batch(table), c.id.in_(AMONG))
        .values(
            seen=func.max(c.seen, bindparam("new_seen")),
            last_batch=func.coalesce(bindparam("new_batch"), c.last_batch),
            version=func.max(c.version, source.concat(bindparam("new_observation"))),
        )
    )


def _document(batch: Batch, each: Judged, places: Places) -> Document:
    record = each.record
    place = places[record.kind, record.id]
    return Document(
        tenant=batch.tenant,
        collection=batch.collection,
        kind=record.kind,
        id=record.id,
        version=each.version,
        deleted=record.deleted,
        content_hash=record.content_hash,
        name=record.name,
        path=place and place.path,
        content=record.content,
        metadata=record.metadata,
    )


def _touched(connection: Connection, batch: Batch, judged: Sequence[Judged], again: bool) -> frozenset[str | None]:
    """The directories whose children changed."""
    written = [each for each in judged if each.write_document]
    if again or not all(each.write_row for each in written):
        # The rows do not say any more where a record was before the try that was not finished: it may be anywhere.
        return frozenset({None, *_directories_and_parents(connection, batch.tenant, batch.collection)})
    return frozenset(
        parent for each in written for parent in (each.record.parent_id, (each.stored or each.record).parent_id)
    )
