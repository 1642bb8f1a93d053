"""One batch: rows with the ledger, then documents, then the ledger's last stage. Any step may be repeated."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from collectors.caching import keys_of
from collectors.errors import Rejected
from collectors.interfaces import Cache, Documents, Rows
from collectors.models import Batch, Document, Quarantined, Record, Verdict, parts_of, version
from collectors.quarantine import quarantined

Item = TypeVar("Item")


class Stored(NamedTuple):
    """What the row of a record says before the batch is applied."""

    version: str
    content_hash: str
    deleted: bool
    first_batch: str
    last_batch: str
    create_time: int
    update_time: int
    tombstone: int | None = None  # the sweep that no longer saw it


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
    mine = version(record.source_version, batch.observation, batch.epoch)
    if stored is None:
        return Judged(record, stored, mine, Verdict.DELETED if record.deleted else Verdict.NEW, True, True)
    if mine < stored.version or batch.observation <= (stored.tombstone or 0):
        return Judged(record, stored, mine, _outdated(stored, batch), False, False)
    if record.content_hash == stored.content_hash and record.deleted == stored.deleted:
        missing = stored.last_batch in unfinished or not stored.last_batch
        return Judged(record, stored, mine, _repeated(stored, record, batch), False, missing)
    return Judged(record, stored, mine, _changed(stored, record, batch), True, True)


def _outdated(stored: Stored, batch: Batch) -> Verdict:
    epoch, _, observation = parts_of(stored.version)
    later = batch.observation > observation and batch.epoch == epoch
    return Verdict.REGRESSED if later else Verdict.SUPERSEDED


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
        documents = self._applied(batch)
        if bad := alone(documents, self._documents.write):
            self._rows.withdraw(batch, _of_documents(batch, bad))
        changed = ((document.kind, document.id) for document in documents)
        self._cache.drop(batch.tenant, keys_of(batch.tenant, batch.collection, changed))
        self._rows.finish(batch)

    def _applied(self, batch: Batch) -> list[Document]:
        try:
            return self._rows.apply(batch)
        except Rejected:
            numbered = list(enumerate(batch.records))
            bad = alone(numbered, lambda some: self._rows.try_out(_of(batch, some)))
            if not bad:  # each is taken without the others: no record is to blame
                raise
            refused = [_refused(position, record, why) for (position, record), why in bad]
            gone = {each.position for each in refused}
            return self._rows.apply(_of(batch, [each for each in numbered if each[0] not in gone]), refused)


def alone(items: Sequence[Item], store: Callable[[Sequence[Item]], Any]) -> list[tuple[Item, Rejected]]:
    """Store `items`; those that are refused are found by halving, until each is alone with its reason."""
    if not items:
        return []
    try:
        store(items)
        return []
    except Rejected as error:
        if len(items) == 1:
            return [(items[0], error)]
    middle = len(items) // 2
    return alone(items[:middle], store) + alone(items[middle:], store)


def _of(batch: Batch, numbered: Sequence[tuple[int, Record]]) -> Batch:
    return replace(batch, records=tuple(record for _, record in numbered))


def _of_documents(batch: Batch, bad: Sequence[tuple[Document, Rejected]]) -> list[Quarantined]:
    places = {(record.kind, record.id, record.content_hash): at for at, record in enumerate(batch.records)}
    found = [(places[document.kind, document.id, document.content_hash], why) for document, why in bad]
    return [_refused(at, batch.records[at], why) for at, why in found]


def _refused(position: int, record: Record, why: Rejected) -> Quarantined:
    return quarantined(position, record.model_dump(), why)
