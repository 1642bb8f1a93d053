"""A tree as it stood, read directory by directory as one is that stands."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from collectors.history import Leaf
from collectors.paths import below, derive


class PastBranches:
    """What Branches are, of records that are held in memory; none of them is gone."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        directories = [each for each in leaves if each.kind == "directory"]
        places = derive((each.id, each.parent_id, each.name) for each in directories)
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._in: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
        for each in sorted(leaves, key=lambda each: each.id):
            place = places[each.id] if each.kind == "directory" else places.get(each.parent_id or "")
            if each.kind == "case" and (place or each.parent_id is None):
                place = below(place, each.name)
            row = each._asdict() | {"path": place.path if place else None, "deleted": False}
            self._rows[each.kind, each.id] = row
            self._in[each.kind, each.parent_id].append(each.id)

    def within(self, kind: str, directory: str | None, after: str, limit: int) -> list[dict[str, Any]]:
        ids = self._in.get((kind, directory), [])
        start = bisect_right(ids, after)
        return [self._rows[kind, id] for id in ids[start : start + limit]]

    def lost(self, kind: str, after: str, limit: int) -> list[dict[str, Any]]:
        found = (row for (of, id), row in self._rows.items() if of == kind and row["path"] is None and id > after)
        return sorted(found, key=lambda row: row["id"])[:limit]

    def above(self, kind: str, id: str) -> list[str]:
        found: list[str] = []
        while (row := self._rows.get((kind, id))) and (parent := row["parent_id"]) and parent not in found:
            found.insert(0, parent)
            kind, id = "directory", parent
        return found

    def directory(self, id: str) -> dict[str, Any] | None:
        return self._rows.get(("directory", id))
