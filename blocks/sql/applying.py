"""One batch in one transaction: what each record means, guarded upserts, counts and the ledger's stage."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from blocks.sql import ledger
from blocks.sql.constructs import AMONG, Upsert, execute_among, execute_bound, execute_many, fresh, greatest, now
from blocks.sql.refusals import set_aside_of
from blocks.sql.tables import RECORDS, test_directory
from collectors.loading import Judged, Stored, judge, newest
from collectors.models import SOURCE_PART, Batch, Document, Quarantined, Record, Verdict
from collectors.paths import Place, below, derive

Places = dict[tuple[str, str], Place | None]
KEPT_AT_UPDATE = frozenset({"tenant", "collection", "id", "create_time", "first_batch"})


def applied(connection: Connection, batch: Batch, refused: Sequence[Quarantined]) -> list[Document]:
    records = newest(batch.records)
    judged = _judged(connection, batch, records)
    to_write = [each for each in judged if each.write_document]
    places = _places(connection, batch, [each.record for each in to_write])
    moment = execute_bound(connection, _NOW, {}).scalar_one()
    _write(connection, batch, judged, places, moment)
    counts = Counter(each.verdict for each in judged)
    counts[Verdict.SUPERSEDED] += len(batch.records) - len(records)
    # The shard before the ledger, as a checkpoint takes them: neither waits for what the other has.
    set_aside_of(connection, batch, refused)
    ledger.enter(connection, batch, counts)
    return [_document(batch, each, places, moment) for each in to_write]


def withdrawn(connection: Connection, batch: Batch, refused: Sequence[Quarantined]) -> None:
    for each in refused:
        record = batch.records[each.position]
        table = RECORDS[record.kind]
        mine = (*_of_batch(table), table.c.id == record.id, table.c.last_batch == batch.batch_id)
        first = table.c.first_batch == batch.batch_id
        connection.execute(delete(table).where(*mine, first), _in(batch))
        connection.execute(update(table).where(*mine).values(content_hash=""), _in(batch))
    set_aside_of(connection, batch, refused)


def _judged(connection: Connection, batch: Batch, records: Sequence[Record]) -> list[Judged]:
    unfinished = ledger.unfinished(connection, batch)
    judged: list[Judged] = []
    for kind, table in RECORDS.items():
        group = [record for record in records if record.kind == kind]
        found = stored(connection, table, batch, [record.id for record in group]) if group else {}
        judged += [judge(found.get(record.id), record, batch, unfinished) for record in group]
    return judged


def stored(connection: Connection, table: Table, batch: Batch, ids: Sequence[str]) -> dict[str, Stored]:
    found = execute_among(connection, _stored_by_id(table), _in(batch), ids)
    return {id: Stored(*rest) for id, *rest in found.all()}


@cache
def _stored_by_id(table: Table) -> Any:
    c = table.c
    columns = (c.id, *(c[name] for name in Stored._fields))
    # Locked in the order of the ids, so that of two loaders one waits for the other and neither for both.
    return select(*columns).where(*_of_batch(table), c.id.in_(AMONG)).order_by(c.id).with_for_update()


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
        *(record.deleted, batch.batch_id, batch.batch_id, None, None),
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


def seen_again(connection: Connection, table: Table, batch: Batch, ids: Sequence[str]) -> None:
    """Records that are as they were, of which nothing else is known."""
    values = {"new_source": None, "new_batch": None, "new_observation": f"{batch.observation:016x}"}
    execute_among(connection, _raised(table), _in(batch) | values | {"new_seen": batch.observation}, ids)


def _new_source(each: Judged) -> str | None:
    """The part of the version that stays when only the observation is new, as it mostly is: None then."""
    mine = each.version[:SOURCE_PART]
    return None if each.stored and each.stored.version.startswith(mine) else mine


@cache
def _upsert(table: Table) -> Any:
    version = table.c.version
    changes = [(column, fresh(column)) for column in table.c if column.key not in KEPT_AT_UPDATE | {"version"}]
    # The guard compares with the stored version, and MySQL assigns from left to right: so it is set last.
    return Upsert(table, [*changes, (version, fresh(version))], guard=fresh(version) >= version)


@cache
def _raised(table: Table) -> Any:
    c = table.c
    source = func.coalesce(bindparam("new_source"), func.substr(c.version, 1, SOURCE_PART))
    return (
        update(table)
        .where(*_of_batch(table), c.id.in_(AMONG))
        .values(
            seen=greatest(c.seen, bindparam("new_seen")),
            last_batch=func.coalesce(bindparam("new_batch"), c.last_batch),
            version=greatest(c.version, source.concat(bindparam("new_observation"))),
        )
    )


def _document(batch: Batch, each: Judged, places: Places, moment: int) -> Document:
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
        parent_id=record.parent_id,
        batch_id=batch.batch_id,
        created_at=each.stored.create_time if each.stored else moment,
        updated_at=each.stored.update_time if each.stored and not each.write_row else moment,
        new=each.stored is None,
    )
