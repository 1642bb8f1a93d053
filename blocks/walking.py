"""Trees, page by page: each directory before what lies in it, and last of all what lies nowhere.

What is read for a page grows with the page and not with the tree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from blocks.stores import Storage
from collectors.errors import Refused

KINDS = ("directory", "case")


class Position(NamedTuple):
    """After which record a page begins."""

    collection: str
    kind: str
    id: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """The live records of collections, or of the subtree below `root`, `depth` levels of it."""

    storage: Storage
    tenant: str
    collections: Sequence[str]
    root: str | None = None
    depth: int | None = None

    def page(self, after: Position | None, limit: int) -> list[dict[str, Any]]:
        return list(islice(self._nodes(after, limit), limit))

    def _nodes(self, after: Position | None, limit: int) -> Iterator[dict[str, Any]]:
        for collection in self.collections:
            if after is None or collection >= after.collection:
                walk = Walk(self.storage, self.tenant, collection, self.depth, limit)
                yield from walk.nodes(self.root, after if after and after.collection == collection else None)


@dataclass(frozen=True, slots=True)
class Walk:
    """Through one collection; `chunk`: rows that are read at once."""

    storage: Storage
    tenant: str
    collection: str
    depth: int | None
    chunk: int

    def nodes(self, root: str | None, after: Position | None) -> Iterator[dict[str, Any]]:
        if after is None and root is not None:
            yield from self._root(root)
        if after is None or not after.lost:
            yield from self._placed(root, after)
        if root is None:
            yield from self._lost(after if after and after.lost else None)

    def _root(self, root: str) -> Iterator[dict[str, Any]]:
        row = self.storage.rows.of_id(self.tenant, self.collection, "directory", root)
        if row and not row["deleted"]:
            yield self._node("directory", row, 0)

    def _placed(self, root: str | None, after: Position | None) -> Iterator[dict[str, Any]]:
        within, levels = self._resumed(root, after)
        while levels:
            kind, row = next(levels[-1], (None, None))
            if kind is None:
                levels.pop(), within.pop()
                continue
            if not row["deleted"]:
                yield self._node(kind, row, len(levels))
            if kind == "directory" and row["id"] not in within and len(levels) < (self.depth or len(levels) + 1):
                within.append(row["id"])
                levels.append(self._level(row["id"]))

    def _resumed(
        self, root: str | None, after: Position | None
    ) -> tuple[list[str | None], list[Iterator[tuple[str, dict[str, Any]]]]]:
        """The directories the walk is within, and what is left of each, if `after` was its last record."""
        if after is None or (after.kind, after.id) == ("directory", root):
            return [root], [self._level(root)]
        way = [None, *self.storage.rows.above(self.tenant, self.collection, after.kind, after.id)]
        if root not in way:
            raise Refused(
                "{kind} {id}, which the page before ended with, lies elsewhere now",
                "Begin anew, without a cursor.",
                code="COL-0409",
                kind=after.kind,
                id=after.id,
            )
        within = way[way.index(root) :]
        entered = [*within[1:], after.id] if after.kind == "directory" else within[1:]
        levels = [self._level(id, entered[at] if at < len(entered) else "") for at, id in enumerate(within)]
        if after.kind == "case":
            levels[-1] = self._rows("case", within[-1], after.id)
        elif len(levels) < (self.depth or len(levels) + 1):
            within, levels = [*within, after.id], [*levels, self._level(after.id)]
        return within, levels

    def _level(self, directory: str | None, after: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """What lies in a directory; of the directories in it those after an id."""
        yield from self._rows("directory", directory, after)
        yield from self._rows("case", directory, "")

    def _rows(self, kind: str, directory: str | None, after: str) -> Iterator[tuple[str, dict[str, Any]]]:
        within = self.storage.rows.within
        while rows := within(self.tenant, self.collection, kind, directory, after, self.chunk):
            yield from ((kind, row) for row in rows)
            if len(rows) < self.chunk:
                return
            after = rows[-1]["id"]

    def _lost(self, after: Position | None) -> Iterator[dict[str, Any]]:
        for kind in KINDS[KINDS.index(after.kind) if after else 0 :]:
            last = after.id if after and after.kind == kind else ""
            while rows := self.storage.rows.lost(self.tenant, self.collection, kind, last, self.chunk):
                yield from (self._node(kind, row, None) for row in rows if self._is_lost(kind, row))
                last = rows[-1]["id"]

    def _is_lost(self, kind: str, row: dict[str, Any]) -> bool:
        """Whether no way leads to it: a path may only not be derived yet."""
        if row["parent_id"] is None:
            return False
        highest = self.storage.rows.above(self.tenant, self.collection, kind, row["id"])[0]
        found = self.storage.rows.of_id(self.tenant, self.collection, "directory", highest)
        return found is None or found["parent_id"] is not None

    def _node(self, kind: str, row: dict[str, Any], depth: int | None) -> dict[str, Any]:
        shown = {name: row[name] for name in ("id", "parent_id", "name", "path")}
        return {"kind": kind, **shown, "collection": self.collection, "depth": depth, "lost": depth is None}


def position(node: dict[str, Any]) -> Position:
    return Position(node["collection"], node["kind"], node["id"], node["lost"])
