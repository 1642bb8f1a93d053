"""Paths for people, derived from the parents' names, like `/支付/退款`: slashes escaped, long ones keep their end."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

LONGEST_PATH = 1000
CUT = "…"
Misplaced = tuple[str, str | None, str, str | None, str]  # id, parent id, name, path and version as they were found


class Place(NamedTuple):
    """Where a directory or case hangs: its path, and how many directories lie above it."""

    path: str
    level: int


class Move(NamedTuple):
    """A derived path that has to be corrected: of a row where it is still `found`, of a document that is not newer than
    the `version` of the row."""

    id: str
    found: str | None
    place: Place | None
    version: str


def escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("/", "\\/")


def below(parent: Place | None, name: str) -> Place:
    """The place of `name` under `parent` (None: at the top)."""
    path = f"{parent.path if parent else ''}/{escaped(name)}"
    if len(path) > LONGEST_PATH:
        path = CUT + path[1 - LONGEST_PATH :]
    return Place(path, parent.level + 1 if parent else 0)


def derive(
    directories: Iterable[tuple[str, str | None, str]], known: Mapping[str, Place] | None = None
) -> dict[str, Place | None]:
    """The place of each (id, parent id, name), in any order; `known` holds parents that are not among them.

    None where there is none: the parent is unknown, or the parents form a circle.
    """
    nodes = {id: (parent, name) for id, parent, name in directories}
    places: dict[str, Place | None] = {}
    for id in nodes:
        chain, top = _climb(id, nodes, places)
        place = places.get(top) if top in places else (known or {}).get(top or "")
        rooted = top is None or place is not None
        for node in reversed(chain):
            place = below(place, nodes[node][1]) if rooted else None
            places[node] = place
    return places


def _climb(
    id: str | None, nodes: Mapping[str, tuple[str | None, str]], places: Mapping[str, Place | None]
) -> tuple[list[str], str | None]:
    """The unplaced nodes from `id` upwards, and the first ancestor that is not one of them (None: the top)."""
    chain: dict[str, None] = {}
    while id is not None and id in nodes and id not in places and id not in chain:
        chain[id] = None
        id = nodes[id][0]
    return list(chain), id
