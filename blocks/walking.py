"""Trees, page by page: each directory before what lies in it, and last of all what lies nowhere.

What is read for a page grows with the page and not with the tree; at the end of a whole tree all records are gone
through for those that lie nowhere.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

from blocks.past_tree import PastBranches
from blocks.sql.branches import Branches
from collectors.errors import Refused
from collectors.models import KINDS

Level = Iterator[dict[str, Any]]


class Position(NamedTuple):
    """After which record a page begins."""

    collection: str
    kind: str
    id: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """The live records of collections, or of the subtree below `root`, `depth` levels of it."""

    opened: Callable[[str], AbstractContextManager[Branches | PastBranches]]  # the branches of a collection
    collections: Sequence[str]
    root: str | None = None
    depth: int | None = None

    def page(self, after: Position | None, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for collection in self.collections:
            if len(found) < limit and (after is None or collection >= after.collection):
                began = after if after and after.collection == collection else None
                found += self._of(collection, began, limit - len(found))
        return found

    def _of(self, collection: str, after: Position | None, limit: int) -> list[dict[str, Any]]:
        with self.opened(collection) as branches:
            walk = Walk(branches, self.root, self.depth, limit)
            return [node | {"collection": collection} for node in islice(walk.nodes(after), limit)]


@dataclass(frozen=True, slots=True)
class Walk:
    """Through one collection; `chunk`: rows that are read at once."""

    branches: Branches | PastBranches
    root: str | None
    depth: int | None
    chunk: int

    def nodes(self, after: Position | None) -> Iterator[dict[str, Any]]:
        if self.root is not None and self.branches.directory(self.root) is None:
            return
        if after is None and self.root is not None:
            yield from self._root()
        if after is None or not after.lost:
            yield from self._placed(after)
        if self.root is None:
            yield from self._lost(after if after and after.lost else None)

    def _root(self) -> Iterator[dict[str, Any]]:
        row = self.branches.directory(self.root)
        if row and not row["deleted"]:
            yield _node(row, 0)

    def _placed(self, after: Position | None) -> Iterator[dict[str, Any]]:
        within, levels = self._resumed(after)
        while levels:
            row = next(levels[-1], None)
            if row is None:
                levels.pop(), within.pop()
                continue
            directory = row["kind"] == "directory"
            if directory and row["id"] in within:  # a circle, which can only be entered at a root that lies in it
                continue
            if not row["deleted"]:
                yield _node(row, len(levels))
            if directory and self._deeper(levels):
                within.append(row["id"])
                levels.append(self._level(row["id"]))

    def _deeper(self, levels: Sequence[Level]) -> bool:
        return self.depth is None or len(levels) < self.depth

    def _resumed(self, after: Position | None) -> tuple[list[str | None], list[Level]]:
        """The directories the walk is within, and what is left of each, if `after` was its last record."""
        if after is None or (after.kind, after.id) == ("directory", self.root):
            return [self.root], [self._level(self.root)]
        within = self._way(after)
        levels = [self._level(above, entered) for above, entered in pairwise(within)]
        if after.kind == "case":
            return within, [*levels, self._level(within[-1], None, after.id)]
        levels.append(self._level(within[-1], after.id))
        if self._deeper(levels):
            within.append(after.id)
            levels.append(self._level(after.id))
        return within, levels

    def _way(self, after: Position) -> list[str | None]:
        """The directories above it, from the root that was asked for."""
        way = [None, *self.branches.above(after.kind, after.id)]
        if self.root in way:
            return way[way.index(self.root) :]
        raise Refused(
            "{kind} {id}, which the page before ended with, lies elsewhere now",
            "Begin anew, without a cursor.",
            code="COL-0409",
            kind=after.kind,
            id=after.id,
        )

    def _level(self, directory: str | None, after_directory: str | None = "", after_case: str = "") -> Level:
        """What is left of a directory: those in it, then its cases; without the former where that is None."""
        for kind, after in (("directory", after_directory), ("case", after_case)):
            while after is not None:
                rows = self.branches.within(kind, directory, after, self.chunk)
                yield from rows
                after = rows[-1]["id"] if len(rows) == self.chunk else None

    def _lost(self, after: Position | None) -> Iterator[dict[str, Any]]:
        for kind in KINDS[KINDS.index(after.kind) if after else 0 :]:
            last = after.id if after and after.kind == kind else ""
            while rows := self.branches.lost(kind, last, self.chunk):
                yield from (_node(row, None) for row in rows if self._is_lost(row))
                last = rows[-1]["id"]

    def _is_lost(self, row: dict[str, Any]) -> bool:
        """Whether no way leads to it: a path may only not be derived yet."""
        if row["parent_id"] is None:
            return False
        highest = self.branches.directory(self.branches.above(row["kind"], row["id"])[0])
        return highest is None or highest["parent_id"] is not None


def _node(row: dict[str, Any], depth: int | None) -> dict[str, Any]:
    shown = {name: row[name] for name in ("kind", "id", "parent_id", "name", "path")}
    return shown | {"depth": depth, "lost": depth is None}


def position(node: dict[str, Any]) -> Position:
    return Position(node["collection"], node["kind"], node["id"], node["lost"])
