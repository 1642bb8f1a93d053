"""What is wrong with a tree as its source has it: said at the end of each run, and stored all the same."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from collectors.models import Model
from collectors.paths import Place, derive

Check = Literal["orphan", "cycle", "duplicate", "level", "path", "count"]
MOST_EXAMPLES = 5
Directory = tuple[str, str | None, str, str | None, int | None]  # id, parent id, name, path, level


class Finding(Model):
    """`examples`: what it is about, as `directory 7`."""

    check: Check
    count: int
    examples: tuple[str, ...] = ()


def found(check: Check, examples: Sequence[str]) -> list[Finding]:
    return [Finding(check=check, count=len(examples), examples=tuple(examples[:MOST_EXAMPLES]))] if examples else []


def of_directories(directories: Sequence[Directory]) -> list[Finding]:
    """Those in a circle of parents; levels and paths that are not what the parents make of them.

    `directories` include those that are gone: others still hang below them.
    """
    places = derive((id, parent, name) for id, parent, name, _, _ in directories)
    parents = {id: parent for id, parent, *_ in directories}
    return [
        *found("cycle", [f"directory {id}" for id in parents if _is_in_a_circle(id, parents, places)]),
        *found("level", [f"directory {id}" for id, _, _, _, level in directories if level != _level(places[id])]),
        *found("path", [f"directory {id}" for id, _, _, path, _ in directories if path != _path(places[id])]),
    ]


def of_counts(told: Mapping[str, int], stored: Mapping[str | None, int]) -> list[Finding]:
    """Directories of which the source tells another number of cases than lie in them; both by the directory's id."""
    differ = [id for id in told if told[id] != stored.get(id, 0)]
    return found("count", [f"directory {id}: {stored.get(id, 0)} of {told[id]}" for id in sorted(differ)])


def in_words(findings: Iterable[Finding]) -> str:
    counts = Counter({finding.check: finding.count for finding in findings})
    return "   ".join(f"{count:,} {check}" for check, count in counts.items())


def _is_in_a_circle(id: str, parents: Mapping[str, str | None], places: Mapping[str, Place | None]) -> bool:
    if places[id]:
        return False
    seen, above = set(), parents[id]
    while above is not None and above in parents and above not in seen and above != id:
        seen.add(above)
        above = parents[above]
    return above == id


def _level(place: Place | None) -> int | None:
    return place and place.level


def _path(place: Place | None) -> str | None:
    return place and place.path
