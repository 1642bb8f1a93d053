"""What people ask for most, answered from the cache where that can be: a record in full, a whole tree, a search."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import orjson

from blocks.stores import Storage
from collectors.caching import generation_key, record_key
from collectors.models import Hit, parts_of
from collectors.trees import nested

OF_A_DIRECTORY = ("id", "parent_id", "name", "path")


def records(storage: Storage, tenant: str, wanted: Iterable[tuple[str, str]], id: str) -> list[dict[str, Any]]:
    """The records of that id among the `wanted` (collection, kind); `content` is None while it is not stored yet."""
    of = {record_key(tenant, collection, kind, id): (collection, kind) for collection, kind in wanted}

    def load(keys: Sequence[str]) -> dict[str, bytes]:
        found = {key: _record(storage, tenant, *of[key], id) for key in keys}
        return {key: orjson.dumps(record) for key, record in found.items() if record}

    cached = storage.cache.read(list(of), load)
    return [orjson.loads(cached[key]) for key in of if key in cached]


def tree(storage: Storage, tenant: str, collection: str) -> tuple[list[dict[str, Any]], int]:
    """The directories as trees, each with the number of cases in and below it; and the number of all cases."""

    def load() -> dict[str, Any]:
        rows = chain.from_iterable(storage.rows.live(tenant, collection, "directory"))
        counts = storage.rows.cases_by_directory(tenant, collection)
        return {"rows": [[row[name] for name in OF_A_DIRECTORY] for row in rows], "counts": list(counts.items())}

    found = _of_generation(storage, tenant, f"tree:{collection}", load)
    directories = (dict(zip(OF_A_DIRECTORY, row, strict=True)) for row in found["rows"])
    counts = dict(found["counts"])
    return nested(directories, counts), sum(counts.values())


def search(storage: Storage, tenant: str, query: str, where: Mapping[str, str | None], limit: int) -> list[Hit]:
    """As Documents.search has it."""
    asked = sha256(orjson.dumps([query, where, limit], option=orjson.OPT_SORT_KEYS)).hexdigest()

    def load() -> list[dict[str, Any]]:
        return [_fields(hit) for hit in storage.documents.search(tenant, query, **where, limit=limit)]

    return [Hit(**each) for each in _of_generation(storage, tenant, f"search:{asked}", load)]


def _of_generation(storage: Storage, tenant: str, what: str, load: Any) -> Any:
    """What depends on many records is taken from the cache as long as none of the tenant was changed."""
    key = generation_key(tenant, what, storage.cache.generation(tenant))
    return orjson.loads(storage.cache.read([key], lambda _: {key: orjson.dumps(load())})[key])


def _fields(hit: Hit) -> dict[str, Any]:
    return {name: getattr(hit, name) for name in Hit.__slots__}


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
