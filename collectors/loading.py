"""One batch: rows with the ledger, then documents, then the ledger's last stage. Any step may be repeated."""

from collections.abc import Set
from typing import NamedTuple

from collectors.caching import keys_of
from collectors.interfaces import Cache, Documents, Rows
from collectors.models import Batch, Record, Verdict, version


class Stored(NamedTuple):
    """What the row of a record says before the batch is applied."""

    version: str
    content_hash: str
    deleted: bool
    first_batch: str
    last_batch: str
    parent_id: str | None


class Judged(NamedTuple):
    """What a record means, and what has to be done: write the row, or only raise its version; write the document."""

    record: Record
    stored: Stored | None
    version: str
    verdict: Verdict
    write_row: bool
    write_document: bool


def judge(stored: Stored | None, record: Record, batch: Batch, unfinished: Set[str]) -> Judged:
    """Newest version wins. `unfinished` names batches whose documents may be missing: theirs are written again.

    A page that is read or delivered again counts as what it was the first time, so that counts stay true.
    """
    mine = version(record.source_version, batch.observation)
    if stored is None:
        return Judged(record, stored, mine, Verdict.DELETED if record.deleted else Verdict.NEW, True, True)
    if mine < stored.version:
        return Judged(record, stored, mine, Verdict.SUPERSEDED, False, False)
    if record.content_hash == stored.content_hash and record.deleted == stored.deleted:
        return Judged(record, stored, mine, _repeated(stored, record, batch), False, stored.last_batch in unfinished)
    return Judged(record, stored, mine, _changed(stored, record, batch), True, True)


def _repeated(stored: Stored, record: Record, batch: Batch) -> Verdict:
    return _changed(stored, record, batch) if batch.repeats(stored.last_batch) else Verdict.UNCHANGED


def _changed(stored: Stored, record: Record, batch: Batch) -> Verdict:
    if record.deleted:
        return Verdict.DELETED
    return Verdict.NEW if batch.repeats(stored.first_batch) else Verdict.CHANGED


def newest(records: tuple[Record, ...]) -> list[Record]:
    """One record an identity, sorted by it: of several the one with the highest source version, then the last."""
    best: dict[tuple[str, str], Record] = {}
    for record in records:
        known = best.get((record.kind, record.id))
        if known is None or record.source_version >= known.source_version:
            best[record.kind, record.id] = record
    return [best[key] for key in sorted(best)]


class Loader:
    """Applies batches to the stores, in the order that makes every interruption repairable."""

    def __init__(self, rows: Rows, documents: Documents, cache: Cache) -> None:
        self._rows, self._documents, self._cache = rows, documents, cache

    def apply(self, batch: Batch) -> None:
        applied = self._rows.apply(batch)
        if applied.documents:
            self._documents.write(applied.documents)
        self._cache.drop(batch.tenant, keys_of(batch, applied))
        self._rows.finish(batch)
