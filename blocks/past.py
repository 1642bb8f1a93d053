"""How a collection stood at a moment, by its rows and by what documents were: histories, differences, trees."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any

import orjson

from blocks.reports import moment
from blocks.stores import Storage
from collectors.errors import Refused
from collectors.history import MICROSECONDS_OF_A_DAY, Difference, Leaf, Snapshot, as_of, difference
from collectors.models import KINDS, Document, Retention

PART = 4_000_000  # bytes of a snapshot's part before it is compressed


@dataclass(frozen=True, slots=True)
class Moment:
    """Microseconds since 1970; `run_id`: the run that ended then, if one is meant."""

    at: int
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What was of one collection. Raises Refused for a moment of which too much is forgotten."""

    storage: Storage
    tenant: str
    collection: str
    retention: Retention

    def history(self, kind: str, id: str) -> list[Document]:
        """All that is known of a record, oldest first, the present one last; empty when nothing is."""
        of = self.tenant, self.collection, kind, [id]
        versions = self.storage.past.versions(*of).get(id, [])
        now = self.storage.documents.read(*of).get(id)
        known = {each.version: each for each in (*versions, *([now] if now else []))}
        return [known[version] for version in sorted(known)]

    def differences(self, before: Moment, after: Moment, last: tuple[str, str] = ("", "")) -> Iterator[Difference]:
        """What became of the records between two moments, by kind and id; those after the `last` (kind, id)."""
        self._refuse_forgotten(before)
        for kind in KINDS[KINDS.index(last[0]) if last[0] else 0 :]:
            follows = last[1] if kind == last[0] else ""
            for rows in self.storage.rows.changed_since(self.tenant, self.collection, kind, before.at, follows):
                versions = self._versions(kind, [row["id"] for row in rows], with_present=True)
                for id, known in versions.items():
                    if found := difference(kind, id, as_of(before.at, known), as_of(after.at, known)):
                        yield found

    def leaves(self, at: Moment) -> list[Leaf]:
        """All live records as they stood: as the run left them whose snapshot is kept, or by what was kept of each."""
        if taken := next((each for each in self._snapshots() if each.run_id == at.run_id), None):
            return self._of_snapshot(taken)
        self._refuse_forgotten(at)
        return list(chain.from_iterable(self._standing(kind, at.at) for kind in KINDS))

    def now(self) -> Moment:
        return Moment(self.storage.catalog.now())

    def keep(self, run_id: str) -> None:
        """Keep the tree as it is, and forget what has been kept long enough. May be repeated."""
        past, of, at = self.storage.past, (self.tenant, self.collection), self.now().at
        if self.retention.snapshots:
            last = next(reversed(self._snapshots()), None)
            digest, parts = (last.digest, []) if last and self._is_as_it_was(last) else _written(self._present())
            past.keep(*of, Snapshot(run_id, at, digest), parts)
        past.thin(*of, self.retention.snapshots)
        past.forget(*of, self._horizon(at))

    def _is_as_it_was(self, last: Snapshot) -> bool:
        changed = self.storage.rows.changed_since
        return not any(any(changed(self.tenant, self.collection, kind, last.taken_at)) for kind in KINDS)

    def _present(self) -> Iterator[Leaf]:
        for kind in KINDS:
            for rows in self.storage.rows.live(self.tenant, self.collection, kind):
                yield from (Leaf(kind, row["id"], row["parent_id"], row["name"]) for row in rows)

    def _snapshots(self) -> list[Snapshot]:
        return self.storage.past.snapshots(self.tenant, self.collection)

    def _of_snapshot(self, taken: Snapshot) -> list[Leaf]:
        parts = self.storage.past.parts(self.tenant, self.collection, taken)
        return [Leaf(*each) for part in parts for each in orjson.loads(zlib.decompress(part))]

    def _standing(self, kind: str, at: int) -> Iterator[Leaf]:
        for rows in self.storage.rows.all(self.tenant, self.collection, kind):
            later = [row["id"] for row in rows if row["create_time"] <= at < row["update_time"]]
            versions = self._versions(kind, later)
            for row in rows:
                if row["update_time"] <= at and not row["deleted"]:
                    yield Leaf(kind, row["id"], row["parent_id"], row["name"])
                elif then := as_of(at, versions.get(row["id"], ())):
                    yield Leaf(kind, row["id"], then.parent_id, then.name)

    def _versions(self, kind: str, ids: Sequence[str], with_present: bool = False) -> Mapping[str, list[Document]]:
        if not ids:
            return {}
        of = self.tenant, self.collection, kind, ids
        kept = self.storage.past.versions(*of)
        present = self.storage.documents.read(*of) if with_present else {}
        return {id: [*kept.get(id, []), *([present[id]] if id in present else [])] for id in ids}

    def _horizon(self, now: int) -> int:
        return now - int(self.retention.history_days * MICROSECONDS_OF_A_DAY)

    def _refuse_forgotten(self, at: Moment) -> None:
        horizon = self._horizon(self.now().at)
        if at.at < horizon:
            raise Refused(
                "what {collection} was at {moment} is forgotten: versions are kept for {days:g} days once replaced",
                "Ask for a later moment, or a run whose tree is kept; retention.history_days says how long is kept.",
                code="COL-0423",
                collection=self.collection,
                moment=moment(at.at),
                days=self.retention.history_days,
            )


def _written(leaves: Iterator[Leaf]) -> tuple[str, list[bytes]]:
    """The digest of a tree, and its parts."""
    digest, parts, part, size = sha256(), [], [], 0
    for leaf in leaves:
        line = orjson.dumps([*leaf])
        digest.update(line)
        part.append(line)
        size += len(line)
        if size > PART:
            parts.append(_packed(part))
            part, size = [], 0
    return digest.hexdigest(), [*parts, *([_packed(part)] if part else [])]


def _packed(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"[" + b",".join(lines) + b"]", 1)


def in_full(each: Document) -> dict[str, Any]:
    """A version as people read it."""
    run_id = each.batch_id.partition("/")[0] or None
    shown = ("kind", "id", "parent_id", "name", "path", "deleted", "content", "metadata", "version")
    return {name: getattr(each, name) for name in shown} | {"at": moment(each.updated_at), "run_id": run_id}
