"""Whether the entries of the audit stand as they were written, and where they do not: which one, and how."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, select

from blocks.sql.sealing import Seals
from blocks.sql.tables import audit

How = Literal["edited", "missing", "out-of-order", "cut-off", "unknown-key", "not-the-anchor"]
END = "end"
NO_SEAL = ""  # before the first entry, and where the end could not be trusted
SEALED = ("number", "at", "tenant", "actor", "action", "subject", "details")
AT_ONCE = 1_000
MOST_JUDGED = 20  # entries whose right place is looked for
MOST_FAULTS = 100


class Anchor(NamedTuple):
    """An entry that was the last one when somebody wrote it down."""

    number: int
    seal: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an entry; without a number with the end. `other`: up to which number it is so, which one the
    entry was, or the key.

    An entry alone is cut off from what stood before it.
    """

    how: How
    number: int | None
    other: int | str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    entries: int
    last: Anchor | None
    faults: tuple[Fault, ...]


def verified(
    connection: Connection, seals: Seals, end: Mapping[str, Any] | None, anchor: Anchor | None = None
) -> Verified:
    walk = _Walk(seals, anchor)
    for row in _rows(connection):
        walk.take(row)
    faults = [*walk.faults, *_misplaced(seals, walk.doubtful), *_at_the_end(seals, end, walk.last)]
    if anchor and not walk.anchored:
        faults.append(Fault("not-the-anchor", anchor.number))
    faults.sort(key=lambda fault: (fault.number is None, fault.number))
    return Verified(walk.count, walk.last, tuple(faults[:MOST_FAULTS]))


@dataclass
class _Walk:
    """From the first entry to the last; `doubtful` are those whose seals do not follow upon the ones before."""

    seals: Seals
    anchor: Anchor | None
    count: int = 0
    last: Anchor | None = None
    anchored: bool = False
    faults: list[Fault] = field(default_factory=list)
    doubtful: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)

    def take(self, row: Mapping[str, Any]) -> None:
        number, before = self.last or (0, NO_SEAL)
        follows = row["number"] <= number + 1
        if not follows:  # and what it was sealed together with is gone
            self._wrong("missing", number + 1, row["number"] - 1)
        if not self.seals.knows(row["key_id"]):
            self._wrong("unknown-key", row["number"], row["key_id"])
        elif follows and not _is_sealed(self.seals, row, row["number"], before):
            self._doubt(row, before)
        self.count, self.last = self.count + 1, Anchor(row["number"], row["seal"])
        self.anchored = self.anchored or self.last == self.anchor

    def _doubt(self, row: Mapping[str, Any], before: str) -> None:
        if len(self.doubtful) < MOST_JUDGED:
            self.doubtful.append((row, before))
        else:
            self._wrong("edited", row["number"])

    def _wrong(self, how: How, number: int, other: int | str | None = None) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(how, number, other))


def _rows(connection: Connection) -> Iterator[Mapping[str, Any]]:
    after = select(audit).order_by(audit.c.number).limit(AT_ONCE)
    found = connection.execute(after).mappings().all()
    while found:
        yield from found
        found = connection.execute(after.where(audit.c.number > found[-1]["number"])).mappings().all()


def _is_sealed(seals: Seals, row: Mapping[str, Any], number: int, before: str) -> bool:
    return seals.holds(row["seal"], row["key_id"], number, *(row[name] for name in SEALED[1:]), before)


def _misplaced(seals: Seals, doubtful: Sequence[tuple[Mapping[str, Any], str]]) -> list[Fault]:
    """Some of them are as they were, and follow upon one that was moved or edited."""
    numbers = [row["number"] for row, _ in doubtful]
    befores = {NO_SEAL, *(before for _, before in doubtful), *(row["seal"] for row, _ in doubtful)}
    befores |= {seals.by(row["key_id"], *(row[name] for name in SEALED), before) for row, before in doubtful}
    found = [fault for row, _ in doubtful if (fault := _judged(seals, row, numbers, befores))]
    return found or [Fault("edited", number) for number in numbers[:1]]


def _judged(seals: Seals, row: Mapping[str, Any], numbers: Sequence[int], befores: set[str]) -> Fault | None:
    own = row["number"]
    places = product([own, *numbers], sorted(befores))
    was, before = next((place for place in places if _is_sealed(seals, row, *place)), (None, None))
    if was is None:
        return Fault("edited", own)
    if was != own:
        return Fault("out-of-order", own, was)
    return Fault("cut-off", own) if before == NO_SEAL and own > 1 else None


def _at_the_end(seals: Seals, end: Mapping[str, Any] | None, last: Anchor | None) -> Iterator[Fault]:
    number, seal = last or (0, NO_SEAL)
    if end is None:
        if last:
            yield Fault("cut-off", None)
    elif end["number"] > number:
        yield Fault("cut-off", number + 1, end["number"])
    elif not seals.knows(end["key_id"]):
        yield Fault("unknown-key", None, end["key_id"])
    elif not seals.holds(end["seal"], end["key_id"], END, number, seal):
        yield Fault("edited", None)
