"""Pages that say what they said before need not be read record by record: their rows only count as seen again.

A page is known by its place and by what its items were. It is passed over only when the rows of its records still are
what they made of them, and nothing about these rows is on its way to the stores.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import orjson

from collectors.models import SOURCE_PART, Collection, Json, Page, Record, version

Identity = tuple[str, str]


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What a page was: digests of its items and of the rows they became, whose they are, and where the next began."""

    place: str
    items_hash: str
    rows_hash: str
    identities: tuple[Identity, ...]
    cursor: Json
    etag: str | None

    def is_said_by(self, page: Page) -> bool:
        return page.whole and page.cursor == self.cursor and _items_hash(page.items) == self.items_hash


class Pages(Protocol):
    """Known pages, kept beside the rows."""

    def recall(self, tenant: str, collection: str, place: str) -> KnownPage | None: ...


def place_of(collection: Collection, collector: object, stage: str, span: dict[str, Any], cursor: Json) -> str:
    """Another collector, other parameters, and it is another page."""
    place = [collection.collector, _code_of(type(collector)), collection.source, stage, span, cursor]
    return sha256(orjson.dumps(place, option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def _code_of(collector: type) -> str:
    """What it makes of an item may change with its code."""
    file = getattr(sys.modules[collector.__module__], "__file__", None)
    return sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _items_hash(items: Sequence[Any]) -> str | None:
    """None of what cannot be written down exactly."""
    try:
        return sha256(orjson.dumps(items)).hexdigest()
    except TypeError:
        return None


def rows_hash(rows: Iterable[tuple[str, str, str, str, bool]]) -> str:
    """Of the (kind, id, version, content hash, whether it is gone) of rows; their observations do not count."""
    written = sorted(
        [kind, id, version[:SOURCE_PART], content, bool(gone)] for kind, id, version, content, gone in rows
    )
    return sha256(orjson.dumps(written)).hexdigest()


def known_page(place: str, page: Page, records: Sequence[Record], epoch: int, etag: str | None) -> KnownPage | None:
    """What is to be remembered of a page of which no item was refused; None when it could not be recognized."""
    identities = tuple((record.kind, record.id) for record in records)
    items_hash = _items_hash(page.items)
    if items_hash is None or not page.whole or len(set(identities)) < len(page.items):
        return None
    rows = ((r.kind, r.id, version(r.source_version, 0, epoch), r.content_hash, r.deleted) for r in records)
    return KnownPage(place, items_hash, rows_hash(rows), identities, page.cursor, etag)
