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
from collectors.models import KINDS, Document, Retention, origin_of

PART = 4_000_000  # bytes of a snapshot's part before it is compressed
COMMITTING = 60_000_000  # microseconds: a change may be seen so much later than the moment it carries


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
                versions = self._versions(kind, [row["id"] for row in rows])
                for row in rows:
                    known = versions[row["id"]]
                    then = self._then(row, before.at, known)
                    was_known = row["create_time"] <= before.at
                    if found := difference(kind, row["id"], then, as_of(after.at, known), was_known):
                        yield found

    def leaves(self, at: Moment) -> list[Leaf]:
        """All live records as they stood, by what was kept of each; where that is forgotten, as the run left them."""
        try:
            self._refuse_forgotten(at)
            return list(chain.from_iterable(self._standing(kind, at.at) for kind in KINDS))
        except Refused:
            if (leaves := self._left_by_run(at)) is not None:
                return leaves
            raise

    def now(self) -> Moment:
        return Moment(self.storage.catalog.now())

    def keep(self, run_id: str) -> None:
        """Keep the tree as it is, and forget what has been kept long enough. May be repeated."""
        past, of, at = self.storage.past, (self.tenant, self.collection), self.now().at
        if self.retention.snapshots:
            last = next(reversed(self._snapshots()), None)
            known = last and not any(self._changed(last.taken_at - COMMITTING)) and self._is_whole(last)
            digest, parts = (last.digest, []) if last and known else written(self._present())
            past.keep(*of, Snapshot(run_id, at, digest), parts)
        past.thin(*of, self.retention.snapshots)
        past.forget(*of, self._horizon(at))

    def _changed(self, since: int) -> Iterator[dict[str, Any]]:
        """The rows that did."""
        rows = self.storage.rows.changed_since
        chunks = chain.from_iterable(rows(self.tenant, self.collection, kind, since) for kind in KINDS)
        return chain.from_iterable(chunks)

    def _present(self) -> Iterator[Leaf]:
        for kind in KINDS:
            for rows in self.storage.rows.live(self.tenant, self.collection, kind):
                yield from (Leaf(kind, row["id"], row["parent_id"], row["name"]) for row in rows)

    def _snapshots(self) -> list[Snapshot]:
        return self.storage.past.snapshots(self.tenant, self.collection)

    def _left_by_run(self, at: Moment) -> list[Leaf] | None:
        """None where no tree of it is kept, or another one than the run left in the end."""
        taken = next((each for each in self._snapshots() if each.run_id == at.run_id), None)
        if taken is None or any(row["update_time"] <= at.at for row in self._changed(taken.taken_at)):
            return None
        whole = self._is_whole(taken)
        return [Leaf(*each) for part in self._parts(taken) for each in part] if whole else None

    def _is_whole(self, taken: Snapshot) -> bool:
        """Its parts may have gone as another run thinned out what is kept."""
        digest = sha256()
        for part in self._parts(taken):
            for each in part:
                digest.update(orjson.dumps(each))
        return digest.hexdigest() == taken.digest

    def _parts(self, taken: Snapshot) -> Iterator[list[list[Any]]]:
        """One at a time: a tree may have millions of leaves."""
        for part in self.storage.past.parts(self.tenant, self.collection, taken):
            yield orjson.loads(zlib.decompress(part))

    def _standing(self, kind: str, at: int) -> Iterator[Leaf]:
        for rows in self.storage.rows.all(self.tenant, self.collection, kind):
            later = [row["id"] for row in rows if row["create_time"] <= at < row["update_time"]]
            versions = self._versions(kind, later)
            for row in rows:
                if row["update_time"] <= at and not row["deleted"]:
                    yield Leaf(kind, row["id"], row["parent_id"], row["name"])
                elif row["id"] in versions and (then := self._then(row, at, versions[row["id"]])):
                    yield Leaf(kind, row["id"], then.parent_id, then.name)

    def _versions(self, kind: str, ids: Sequence[str]) -> Mapping[str, list[Document]]:
        """The present one is among them: what replaces it in the rows may be on its way, or refused."""
        if not ids:
            return {}
        of = self.tenant, self.collection, kind, ids
        kept, present = self.storage.past.versions(*of), self.storage.documents.read(*of)
        return {id: [*kept.get(id, []), *([present[id]] if id in present else [])] for id in ids}

    def _then(self, row: Mapping[str, Any], at: int, known: Sequence[Document]) -> Document | None:
        if row["create_time"] <= at and not any(each.updated_at <= at for each in known):
            raise self._forgotten(at)  # it was there: retention may have been shorter than it is now
        return as_of(at, known)

    def _horizon(self, now: int) -> int:
        return now - int(self.retention.history_days * MICROSECONDS_OF_A_DAY)

    def _refuse_forgotten(self, at: Moment) -> None:
        horizon = self._horizon(self.now().at)
        began = self.storage.rows.began(self.tenant, self.collection)
        if began is not None and began <= at.at < horizon:  # before that nothing was, and nothing is forgotten
            raise self._forgotten(at.at)

    def _forgotten(self, at: int) -> Refused:
        return Refused(
            "what {collection} was at {moment} is forgotten: versions are kept for {days:g} days once replaced",
            "Ask for a later moment; retention.history_days says how long is kept. Of a run whose tree is kept, "
            "collect tree --at shows that.",
            code="COL-0423",
            collection=self.collection,
            moment=moment(at),
            days=self.retention.history_days,
        )


def written(leaves: Iterator[Leaf]) -> tuple[str, list[bytes]]:
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
    run_id = origin_of(each.batch_id)[0] if each.batch_id else None
    shown = ("kind", "id", "parent_id", "name", "path", "deleted", "content", "metadata", "version")
    return {name: getattr(each, name) for name in shown} | {"at": moment(each.updated_at), "run_id": run_id}
