"""What is wrong with a tree as its source has it: said at the end of each run, and stored all the same."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from collectors.models import Model
from collectors.paths import CUT, derive

Check = Literal["orphan", "cycle", "duplicate", "level", "path", "count"]
MOST_EXAMPLES = 5


class Finding(Model):
    """`examples`: what it is about, as `directory 7`."""

    check: Check
    count: int
    examples: tuple[str, ...] = ()


@dataclass
class Tally:
    """What a check has found so far: of any number, the first few as examples."""

    check: Check
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if self.count <= MOST_EXAMPLES:
            self.examples.append(example)

    def findings(self) -> list[Finding]:
        return [Finding(check=self.check, count=self.count, examples=tuple(self.examples))] if self.count else []


def found(check: Check, examples: Iterable[str]) -> list[Finding]:
    tally = Tally(check)
    for example in examples:
        tally.add(example)
    return tally.findings()


def of_directories(directories: Mapping[str, tuple[str | None, str, bool]]) -> list[Finding]:
    """Those in a circle of parents; those without a level, since one above has none; those whose path is shortened.

    `directories`: (parent id, name, whether it is gone) by id. Those that are gone are not told of, and are among them,
    since others still hang below.
    """
    places = derive((id, parent, name) for id, (parent, name, _) in directories.items())
    parents = {id: parent for id, (parent, _, _) in directories.items()}
    nowhere = {id: parent for id, parent in parents.items() if places[id] is None}
    circles = in_circles(nowhere)
    gaps = (id for id, parent in nowhere.items() if id not in circles and parent in parents)
    cut = (id for id in parents if (place := places[id]) and place.path.startswith(CUT))
    checks: tuple[tuple[Check, Iterable[str]], ...] = (("cycle", circles), ("level", gaps), ("path", cut))
    return [
        finding
        for check, ids in checks
        for finding in found(check, (f"directory {id}" for id in ids if not directories[id][2]))
    ]


def in_circles(parents: Mapping[str, str | None]) -> dict[str, None]:
    """The ids that are above themselves, in the order in which they are met. Each is looked at once."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    for start in parents:
        walk: dict[str, None] = {}
        above: str | None = start
        while above in parents and above not in seen:
            seen.add(above)
            walk[above] = None
            above = parents[above]
        if above in walk:
            climbed = list(walk)
            found |= dict.fromkeys(climbed[climbed.index(above) :])
    return found


def of_records(records: Iterable[tuple[str, str, str | None, str]], directories: Container[str]) -> list[Finding]:
    """Those whose directory is not among `directories`; siblings of one kind that share a name, one for each name.

    `records`: (kind, id, parent id, name) of all live ones. Only hashes of names are kept, since there may be millions:
    among a million, two that differ have one hash with a chance of one in thirty million.
    """
    orphans, twins = Tally("orphan"), Tally("duplicate")
    once: set[int] = set()
    again: set[int] = set()
    for kind, id, parent, name in records:
        if parent is not None and parent not in directories:
            orphans.add(f"{kind} {id}")
        mark = hash((kind, parent, name))
        if mark in once and mark not in again:
            again.add(mark)
            twins.add(f"{kind} {id}")
        once.add(mark)
    return [*orphans.findings(), *twins.findings()]


def of_counts(told: Mapping[str, int], stored: Mapping[str | None, int]) -> list[Finding]:
    """Directories of which the source tells another number of cases than lie in them; both by the directory's id."""
    differ = [id for id in told if told[id] != stored.get(id, 0)]
    return found("count", (f"directory {id}: {stored.get(id, 0)} of {told[id]}" for id in sorted(differ)))


def in_words(findings: Iterable[Finding]) -> str:
    counts = Counter({finding.check: finding.count for finding in findings})
    return "   ".join(f"{count:,} {check}" for check, count in counts.items())
