"""Directories as trees: what hangs below what, how many cases that are, and what is left out of a picture. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from collectors.history import Leaf
from collectors.paths import derive

NO_PARENT = "its parent is not there"
IN_A_CIRCLE = "its parents form a circle"


def nested(directories: Iterable[Mapping[str, Any]], cases: Mapping[str | None, int]) -> list[dict[str, Any]]:
    """The directories as trees by name, each with the number of cases in and below it; each stands there once.

    One that hangs nowhere is at the top, with the reason as `lost`; of a circle it is the first by name.
    `directories` have an id, parent_id, name and path; `cases` counts those that stand in a directory itself.
    """
    rows = {row["id"]: row for row in directories}
    by_name = sorted(rows.values(), key=lambda row: (row["name"], row["id"]))
    nodes = {
        row["id"]: {
            "id": row["id"], "name": row["name"], "path": row["path"], "cases": cases.get(row["id"], 0), "children": []
        }
        for row in by_name
    }  # fmt: skip
    parents = {id: row["parent_id"] for id, row in rows.items() if row["parent_id"] in nodes}
    for id in _closing_circles(list(nodes), parents):
        del parents[id]
        nodes[id]["lost"] = IN_A_CIRCLE
    for id, node in nodes.items():
        if id in parents:
            nodes[parents[id]]["children"].append(node)
        elif not node["path"]:
            node.setdefault("lost", NO_PARENT)
    top = [node for id, node in nodes.items() if id not in parents]
    for node, _ in reversed(list(walked(top))):
        node["cases"] += sum(child["cases"] for child in node["children"])
    return top


def pictured(leaves: Sequence[Leaf]) -> tuple[list[dict[str, Any]], int]:
    """The same of all live records of a collection, whose paths are derived; and the number of all cases."""
    directories = [each for each in leaves if each.kind == "directory"]
    cases = Counter(each.parent_id for each in leaves if each.kind == "case")
    places = derive((each.id, each.parent_id, each.name) for each in directories)
    rows = [each._asdict() | {"path": (place := places[each.id]) and place.path} for each in directories]
    return nested(rows, cases), cases.total()


def _closing_circles(ids: Sequence[str], parents: Mapping[str, str]) -> list[str]:
    """One of each circle of parents: the first in `ids`."""
    order = {id: number for number, id in enumerate(ids)}
    seen: set[str] = set()
    found = []
    for id in ids:
        climbed: dict[str, None] = {}
        while id in parents and id not in seen:
            seen.add(id)
            climbed[id] = None
            id = parents[id]
        if id in climbed:
            circle = list(climbed)
            found.append(min(circle[circle.index(id) :], key=order.__getitem__))
    return found


def walked(top: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    """All nodes from above, siblings in their order, each with its level (1: the top)."""
    left = [(node, 1) for node in reversed(top)]
    while left:
        node, level = left.pop()
        yield node, level
        left += [(child, level + 1) for child in reversed(node["children"])]


def cut(top: Sequence[dict[str, Any]], depth: int) -> int:
    """Take away what is below `depth` levels, and note at each node as `cut` how much that was. Returns the sum."""
    below: dict[str, int] = {}
    nodes = list(walked(top))
    for node, _ in reversed(nodes):
        below[node["id"]] = sum(1 + below[child["id"]] for child in node["children"])
    lowest = [node for node, level in nodes if level == depth and node["children"]]
    for node in lowest:
        node["cut"], node["children"] = below[node["id"]], []
    return sum(node["cut"] for node in lowest)
