"""What records were: which versions were replaced, how things stood at a moment, and what differs between two. Pure.

Moments are microseconds since 1970, by the clock of the database that keeps the rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, NamedTuple, Protocol

from collectors.models import Document

MICROSECONDS_OF_A_DAY = 86_400_000_000
Change = Literal["added", "restored", "changed", "moved", "deleted"]
FIELDS = ("parent_id", "name", "content", "metadata")


class Kept(NamedTuple):
    """A version of a record; `until`: when another one replaced it, None where that is not known yet."""

    document: Document
    until: int | None


def replaced(found: Iterable[Document], written: Iterable[Document]) -> list[Kept]:
    """What has to be kept when documents are `written` over what is `found`.

    Both sides of each change: of two that write a record at once, neither sees what the other writes.
    """
    known = {_identity(each): each for each in found}
    pairs = [(known[_identity(each)], each) for each in written if _identity(each) in known]
    changes = [sorted(pair, key=lambda each: each.version) for pair in pairs if differ(*pair)]
    return list(chain.from_iterable((Kept(old, new.updated_at), Kept(new, None)) for old, new in changes))


def dated(found: Iterable[Document], written: Iterable[Document]) -> list[Document]:
    """What is `written` over what is `found`: where nothing differs, it is no change, and stays of the time it was."""
    known = {_identity(each): each for each in found}
    return [_as_old(each, known.get(_identity(each))) for each in written]


def _as_old(new: Document, old: Document | None) -> Document:
    if old is None or differ(old, new):
        return new
    return replace(new, updated_at=old.updated_at, batch_id=old.batch_id or new.batch_id)


def _identity(each: Document) -> tuple[str, str, str, str]:
    return each.tenant, each.collection, each.kind, each.id


def differ(one: Document, other: Document) -> bool:
    return (one.content_hash, one.deleted) != (other.content_hash, other.deleted)


def as_of(moment: int, versions: Iterable[Document]) -> Document | None:
    """The live version that was the newest one then; None when there was none, or it was gone."""
    known = [each for each in versions if each.updated_at <= moment]
    newest = max(known, key=lambda each: each.version, default=None)
    return None if newest is None or newest.deleted else newest


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of one record between two moments; `fields` that differ, where it was there at both."""

    kind: str
    id: str
    change: Change
    fields: tuple[str, ...]
    before: Document | None
    after: Document | None


def difference(
    kind: str, id: str, before: Document | None, after: Document | None, known: bool = False
) -> Difference | None:
    """None when nothing did. One that was moved and changed counts as moved; one that was `known` before, restored."""
    if before is None or after is None:
        change = ("restored" if known else "added") if after else "deleted"
        return Difference(kind, id, change, (), before, after) if before or after else None
    told = FIELDS if before.batch_id else FIELDS[1:]  # what was stored before there was a history names no parent
    fields = tuple(name for name in told if getattr(before, name) != getattr(after, name))
    change = "moved" if "parent_id" in fields else "changed"
    return Difference(kind, id, change, fields, before, after) if fields else None


class Leaf(NamedTuple):
    """A record in a snapshot of a tree."""

    kind: str
    id: str
    parent_id: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which tree a run left behind; `digest` is the same where the tree is."""

    run_id: str
    taken_at: int
    digest: str


class Past(Protocol):
    """What documents were before they were replaced, and what trees looked like."""

    def versions(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, list[Document]]:
        """What was kept of those, oldest first; what is current may be among it, or not."""

    def forget(self, tenant: str, collection: str, before: int) -> None:
        """Versions that were replaced before that moment."""

    def keep(self, tenant: str, collection: str, snapshot: Snapshot, parts: Sequence[bytes]) -> None:
        """The parts of a tree, unless one with the same digest is kept; of one run the last tree is kept."""

    def snapshots(self, tenant: str, collection: str) -> list[Snapshot]:
        """Oldest first."""

    def parts(self, tenant: str, collection: str, snapshot: Snapshot) -> list[bytes]:
        """What was kept of its tree."""

    def thin(self, tenant: str, collection: str, most: int) -> None:
        """Keep the newest snapshots, `most` of them."""
