"""Stores in memory, for the rules alone: what rows, documents, ledger and shards are, without a database."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from collectors.errors import Fenced, Refused
from collectors.interfaces import Claim, Standing
from collectors.known_pages import KnownPage, rows_hash
from collectors.loading import Stored, judge, newest
from collectors.models import EPOCH_PART, SOURCE_PART, Batch, Document
from collectors.states import Desired, ShardState
from collectors.sweeping import Sweep, Unseen

Key = tuple[str, str]
OPEN = ("published", "rows")


@dataclass
class Row:
    parent_id: str | None
    name: str
    stored: Stored
    seen: int
    missing: int | None = None


@dataclass
class Entry:
    batch: Batch
    stage: str = "published"
    confirmed: bool = False
    counts: Counter = field(default_factory=Counter)


class Memory:
    """Rows, Graves, Documents, Progress, Pages and Cache at once, of one collection."""

    lease_seconds = 15.0

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.documents: dict[Key, Document] = {}
        self.ledger: dict[str, Entry] = {}
        self.shards: dict[tuple[str, str], dict[str, Any]] = {}
        self.known: dict[str, KnownPage] = {}
        self._numbers = count(1)

    # ---- rows --------------------------------------------------------------------------------------------

    def apply(self, batch: Batch, refused: Any = ()) -> list[Document]:
        entry = self.ledger.setdefault(batch.batch_id, Entry(batch))
        unfinished = {id for id, each in self.ledger.items() if each.stage in OPEN}
        written, counts = [], Counter()
        for record in newest(batch.records):
            key = record.kind, record.id
            row = self.rows.get(key)
            judged = judge(row and row.stored, record, batch, unfinished)
            counts[judged.verdict] += 1
            if judged.write_row:
                first = row.stored.first_batch if row else batch.batch_id
                new = Stored(judged.version, record.content_hash, record.deleted, first, batch.batch_id, 0, 0, None)
                self.rows[key] = Row(record.parent_id, record.name, new, batch.observation)
            elif row:
                self._touch(row, judged.version, batch, judged.write_document)
            if judged.write_document:
                written.append(_document(batch, record, judged.version))
        if entry.stage == "published":
            entry.stage, entry.counts = "rows", counts
        return written

    def _touch(self, row: Row, raised: str, batch: Batch, rewritten: bool) -> None:
        row.seen = max(row.seen, batch.observation)
        last = batch.batch_id if rewritten else row.stored.last_batch
        row.stored = row.stored._replace(version=max(row.stored.version, raised), last_batch=last)

    def finish(self, batch: Batch) -> None:
        self.ledger[batch.batch_id].stage = "done"

    # ---- documents and cache -----------------------------------------------------------------------------

    def write(self, documents: list[Document]) -> None:
        for each in documents:
            known = self.documents.get((each.kind, each.id))
            if known is None or each.version >= known.version:
                self.documents[each.kind, each.id] = each

    def read(self, tenant: str, collection: str, kind: str, ids: Any) -> dict[str, Document]:
        return {id: self.documents[kind, id] for id in ids if (kind, id) in self.documents}

    def drop(self, tenant: str, keys: Any) -> None: ...

    # ---- shards ------------------------------------------------------------------------------------------

    def observe(self) -> int:
        return next(self._numbers)

    def claim(self, run_id: str, shard_id: str, stage: str, span: dict[str, Any]) -> Claim:
        new = {"fence": 0, "cursor": None, "page": 0, "state": ShardState.PENDING}
        shard = self.shards.setdefault((run_id, shard_id), new)
        shard["fence"] += 1
        return Claim(run_id, shard_id, "me", shard["fence"], stage, span, shard["cursor"], shard["page"])

    def _held(self, claim: Claim) -> dict[str, Any]:
        shard = self.shards[claim.run_id, claim.shard_id]
        if shard["fence"] != claim.fence:
            raise Fenced("taken over", code="COL-0401")
        return shard

    def checkpoint(self, claim, page, cursor, batches, refused, read, whole=True, known=None) -> Standing:
        self._held(claim).update(cursor=cursor, page=page + 1)
        for batch in batches:
            self.ledger.setdefault(batch.batch_id, Entry(batch)).confirmed = True
        if known and batches:
            self.known[known.place] = known
        return self.standing(claim)

    def repeat(self, claim: Claim, batch: Batch, page: int, known: KnownPage) -> Standing | None:
        rows = {key: self.rows[key] for key in known.identities if key in self.rows}
        of = ((*key, row.stored.version, row.stored.content_hash, row.stored.deleted) for key, row in rows.items())
        unfinished = {id for id, each in self.ledger.items() if each.stage in OPEN} | {""}
        if rows_hash(of) != known.rows_hash or any(row.stored.last_batch in unfinished for row in rows.values()):
            return None
        self._held(claim).update(cursor=known.cursor, page=page + 1)
        for row in rows.values():
            self._touch(row, f"{row.stored.version[:SOURCE_PART]}{batch.observation:016x}", batch, False)
        return self.standing(claim)

    def recall(self, tenant: str, collection: str, place: str) -> KnownPage | None:
        return self.known.get(place)

    def renew(self, claim: Claim) -> Desired:
        self._held(claim)
        return Desired.RUN

    def standing(self, claim: Claim) -> Standing:
        return Standing(Desired.RUN, 0, 0)

    def release(self, claim: Claim, state: ShardState, error: str | None = None) -> None:
        self._held(claim)["state"] = state

    # ---- sweeping ----------------------------------------------------------------------------------------

    def open_of(self, run_id: str | None = None, other_than: str | None = None) -> list[Entry]:
        return [
            each
            for each in self.ledger.values()
            if each.confirmed and each.stage in OPEN
            and each.batch.run_id != other_than
            and run_id in (None, each.batch.run_id)
        ]  # fmt: skip

    def refuse_open(self, sweep: Sweep) -> None:
        if self.open_of(other_than=sweep.run_id):
            raise Refused("open", code="COL-0415")

    def _live(self) -> dict[Key, Row]:
        return {key: row for key, row in self.rows.items() if not row.stored.deleted}

    def live(self, sweep: Sweep) -> int:
        return len(self._live())

    def _unseen(self, sweep: Sweep) -> dict[Key, Row]:
        return {key: row for key, row in self._live().items() if row.seen < sweep.number}

    def unseen(self, sweep: Sweep) -> list[Unseen]:
        return [
            Unseen(kind, id, row.parent_id, row.missing is not None and row.seen < row.missing < sweep.number)
            for (kind, id), row in self._unseen(sweep).items()
        ]

    def suspect(self, sweep: Sweep, kind: str, ids: Any) -> None:
        for (of, id), row in self._unseen(sweep).items():
            if of == kind and id in ids and (row.missing is None or row.missing <= row.seen):
                row.missing = sweep.number

    def acquit(self, sweep: Sweep, kind: str, ids: Any) -> None:
        for (of, id), row in self._unseen(sweep).items():
            if of == kind and id in ids:
                row.missing = None

    def bury(self, sweep: Sweep, kind: str, ids: Any) -> None:
        for (of, id), row in self._unseen(sweep).items():
            if of == kind and id in ids:
                old = row.stored
                epoch = max(old.version[:EPOCH_PART], f"{sweep.epoch:04x}")
                raised = f"{epoch}{old.version[EPOCH_PART:SOURCE_PART]}{sweep.number:016x}"
                row.stored = old._replace(version=raised, deleted=True, last_batch="", tombstone=sweep.number)

    def half_buried(self, sweep: Sweep, kind: str) -> list[dict[str, Document]]:
        half = {
            id: row for (of, id), row in self.rows.items()
            if of == kind and row.stored.deleted and row.stored.tombstone and not row.stored.last_batch
        }  # fmt: skip
        return [{id: _buried(sweep, kind, id, row) for id, row in half.items()}]

    def buried(self, sweep: Sweep, kind: str, ids: Any) -> None:
        for id in ids:
            row = self.rows[kind, id]
            row.stored = row.stored._replace(last_batch=f"{sweep.run_id}/sweep/0.0/{sweep.number}")

    def buried_by(self, sweep: Sweep) -> int:
        return sum(row.stored.tombstone == sweep.number for row in self.rows.values())


def _document(batch: Batch, record: Any, raised: str) -> Document:
    of = batch.tenant, batch.collection, record.kind, record.id
    place = {"parent_id": record.parent_id, "batch_id": batch.batch_id}
    return Document(*of, raised, record.deleted, record.content_hash, record.name, None, record.content, **place)


def _buried(sweep: Sweep, kind: str, id: str, row: Row) -> Document:
    of = sweep.tenant, sweep.collection, kind, id
    return Document(*of, row.stored.version, True, row.stored.content_hash, row.name, None, parent_id=row.parent_id)
