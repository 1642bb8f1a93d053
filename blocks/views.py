"""What people ask for most, answered from the cache where that can be: a record in full, a whole tree, a search."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from blocks.caches import written
from blocks.reports import moment
from blocks.stores import Storage
from collectors.caching import record_key, search_key, tree_key
from collectors.models import Hit, origin_of, parts_of
from collectors.trees import nested

OF_A_DIRECTORY = ("id", "parent_id", "name", "path")
SECONDS_OF_A_SEARCH = 60.0


def records(storage: Storage, tenant: str, wanted: Iterable[tuple[str, str]], id: str) -> list[dict[str, Any]]:
    """The records of that id among the `wanted` (collection, kind); `content` is None while it is not stored yet."""
    of = {record_key(tenant, collection, kind, id): (collection, kind) for collection, kind in wanted}

    def load(keys: Sequence[str]) -> dict[str, Any]:
        found = {key: _record(storage, tenant, *of[key], id) for key in keys}
        return {key: record for key, record in found.items() if record}

    return list(written.read(storage.cache, list(of), load, kept=lambda record: record["content"] is not None).values())


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """A record for people: its first and its last batch as where they came from."""
    at = {name: record.pop(name) for name in ("first_batch", "create_time", "last_batch", "update_time")}
    return record | {
        "first": _origin(at["first_batch"], at["create_time"]),
        "last": _origin(at["last_batch"], at["update_time"]),
    }


def _origin(batch_id: str, at: int) -> dict[str, Any] | None:
    """Pages are counted from 1 for people. None of a record that is marked to be written anew."""
    if not batch_id:
        return None
    run_id, shard_id, page, part, observation = origin_of(batch_id)
    return {
        "run_id": run_id,
        "shard_id": shard_id,
        "page": page + 1,
        "part": part + 1,
        "observation": observation,
        "at": moment(at),
    }


def tree(storage: Storage, tenant: str, collection: str) -> tuple[list[dict[str, Any]], int]:
    """The directories as trees, each with the number of cases in and below it; and the number of all cases."""
    key = tree_key(tenant, collection)

    def load(_: Sequence[str]) -> dict[str, Any]:
        rows = chain.from_iterable(storage.rows.live(tenant, collection, "directory"))
        counts = storage.rows.cases_by_directory(tenant, collection)
        return {key: {"rows": [[row[name] for name in OF_A_DIRECTORY] for row in rows], "counts": list(counts.items())}}

    found = written.read(storage.cache, [key], load)[key]
    directories = (dict(zip(OF_A_DIRECTORY, row, strict=True)) for row in found["rows"])
    counts = dict(found["counts"])
    return nested(directories, counts), sum(counts.values())


def search(storage: Storage, tenant: str, query: str, where: Mapping[str, str | None], limit: int) -> list[Hit]:
    """As Documents.search has it."""
    key = search_key(tenant, storage.cache.generation(tenant), query, sorted(where.items()), limit)

    def load(_: Sequence[str]) -> dict[str, Any]:
        hits = storage.documents.search(tenant, query, **where, limit=limit)
        return {key: [{name: getattr(hit, name) for name in Hit.__slots__} for hit in hits]}

    # For a short time: those of older generations are asked for by nobody, and dropped by nobody.
    return [Hit(**hit) for hit in written.read(storage.cache, [key], load, lasting=SECONDS_OF_A_SEARCH)[key]]


def _record(storage: Storage, tenant: str, collection: str, kind: str, id: str) -> dict[str, Any] | None:
    row = storage.rows.of_id(tenant, collection, kind, id)
    if row is None:
        return None
    detail = storage.documents.read(tenant, collection, kind, [id]).get(id)
    current = detail is not None and detail.content_hash == row["content_hash"]
    epoch, source_version, observation = parts_of(row["version"])
    fields = ("tenant", "collection", "id", "parent_id", "path", "name")
    return (
        {"kind": kind}
        | {name: row[name] for name in fields}
        | {
            "deleted": bool(row["deleted"]),
            "content": detail.content if current else None,
            "metadata": detail.metadata if current else None,
            "version": {"epoch": epoch, "source": source_version, "observation": observation, "text": row["version"]},
            "content_hash": row["content_hash"],
            "first_batch": row["first_batch"],
            "last_batch": row["last_batch"],
            "create_time": row["create_time"],
            "update_time": row["update_time"],
        }
    )
