"""Whether rows, documents and cache say the same: compared range by range, and looked into where the digests differ."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import orjson

from blocks.caches import written
from blocks.stores import Storage
from collectors.caching import keys_of, record_key
from collectors.models import KINDS

RANGE = 1000
SECONDS_BETWEEN_LOOKS = 1.0
NO_ROW = "no row"
Marks = Mapping[str, tuple[str, bool]]  # by id: the content hash, and whether it is gone


@dataclass(frozen=True, slots=True)
class Difference:
    kind: str
    id: str
    what: str  # "no document", "another document", "no row", "another copy in the cache"


def differences(storage: Storage, tenant: str, collection: str) -> list[Difference]:
    """What differs, and still does a moment later: what is being loaded right now is no difference."""
    first = list(_differences(storage, tenant, collection))
    if not first:
        return []
    time.sleep(SECONDS_BETWEEN_LOOKS)
    again = set(_differences(storage, tenant, collection))
    return [each for each in first if each in again]


def _differences(storage: Storage, tenant: str, collection: str) -> Iterator[Difference]:
    for kind in KINDS:
        after = ""
        while True:
            rows = storage.rows.marks(tenant, collection, kind, after, RANGE)
            last = max(rows, key=str.encode) if len(rows) == RANGE else None
            documents = storage.documents.marks(tenant, collection, kind, after, last)
            if _digest(rows) != _digest(documents):
                yield from _of_range(kind, rows, documents)
            yield from _cached(storage, tenant, collection, kind, rows)
            if last is None:
                break
            after = last


def _digest(marks: Marks) -> bytes:
    return sha256(orjson.dumps(dict(marks), option=orjson.OPT_SORT_KEYS)).digest()


def _of_range(kind: str, rows: Marks, documents: Marks) -> Iterator[Difference]:
    for id in sorted(rows.keys() | documents.keys()):
        if id not in documents:
            yield Difference(kind, id, "no document")
        elif id not in rows:
            yield Difference(kind, id, NO_ROW)
        elif rows[id] != documents[id]:
            yield Difference(kind, id, "another document")


def _cached(storage: Storage, tenant: str, collection: str, kind: str, rows: Marks) -> Iterator[Difference]:
    keys = {record_key(tenant, collection, kind, id): id for id in rows}
    for key, value in storage.cache.peek(list(keys)).items():
        record = written.opened(value)
        if record is None or (record["content_hash"], record["deleted"]) != rows[keys[key]]:
            yield Difference(kind, keys[key], "another copy in the cache")


def discard(storage: Storage, tenant: str, collection: str, orphans: list[Difference]) -> None:
    """Take away documents that have no row although the source was read whole: no run would ever touch them again."""
    for kind in KINDS:
        ids = [each.id for each in orphans if each.kind == kind]
        storage.documents.discard(tenant, collection, kind, ids)
        storage.cache.drop(tenant, keys_of(tenant, collection, ((kind, id) for id in ids)))


def make_due(storage: Storage, tenant: str, collection: str, found: list[Difference]) -> None:
    """The next run writes these records again, whatever they say; copies in the cache are gone at once."""
    for kind in KINDS:
        ids = [each.id for each in found if each.kind == kind]
        storage.rows.make_due(tenant, collection, kind, ids)
        storage.cache.drop(tenant, keys_of(tenant, collection, ((kind, id) for id in ids)))
