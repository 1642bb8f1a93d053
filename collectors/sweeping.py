"""What complete full runs no longer saw becomes a tombstone, in every store; never on the word of an incomplete one."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from anyio import to_thread

from collectors.caching import keys_of
from collectors.errors import Misconfigured, Refused
from collectors.interfaces import Cache, Collector, Confirming, Documents
from collectors.models import KINDS, Document

MOST_ASKED = 1_000  # records of a kind that are confirmed one by one in one sweep; the others wait for the next one
ASKED_AT_ONCE = 50
CHUNK = 1_000


class Unseen(NamedTuple):
    """A live record that a complete sweep did not see; `again`: nor did one before."""

    kind: str
    id: str
    parent_id: str | None
    again: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """A full run seen as a generation: what was not observed after `number` is not there any more."""

    tenant: str
    collection: str
    run_id: str
    number: int
    epoch: int


class Graves(Protocol):
    """What sweeping needs of the rows."""

    def refuse_open(self, sweep: Sweep) -> None:
        """Raises Refused when something may still come that was observed before, or was refused without an id."""

    def live(self, sweep: Sweep) -> int:
        """How many records are known and live."""

    def unseen(self, sweep: Sweep) -> list[Unseen]:
        """Live records the sweep has neither seen nor refused."""

    def suspect(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Note that a complete sweep did not see them."""

    def bury(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Mark those as deleted that are still unseen."""

    def buried_by(self, sweep: Sweep) -> int:
        """How many tombstones of this sweep there are."""

    def half_buried(self, sweep: Sweep, kind: str) -> dict[str, Document]:
        """Some tombstones whose documents may be live still, by id: as documents without content."""

    def buried(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Their documents are marked, too."""


class Swept(NamedTuple):
    deleted: int
    missing: int  # not seen, and not certainly gone


async def swept(
    sweep: Sweep, graves: Graves, documents: Documents, cache: Cache, collector: Collector, guard: float
) -> Swept:
    """Close the sweep of a run that has read every shard. May be repeated.

    Raises Refused when it must not be closed: nothing is deleted then.
    """
    await to_thread.run_sync(graves.refuse_open, sweep)
    unseen = await to_thread.run_sync(graves.unseen, sweep)
    _refuse_shrinking(sweep, len(unseen), await to_thread.run_sync(graves.live, sweep), guard)
    gone, uncertain = await judged(unseen, collector)
    for kind in KINDS:
        await to_thread.run_sync(graves.suspect, sweep, kind, [each.id for each in uncertain if each.kind == kind])
        await to_thread.run_sync(graves.bury, sweep, kind, [each.id for each in gone if each.kind == kind])
        await to_thread.run_sync(_mark_documents, sweep, kind, graves, documents, cache)
    return Swept(await to_thread.run_sync(graves.buried_by, sweep), len(uncertain))


def _refuse_shrinking(sweep: Sweep, unseen: int, live: int, guard: float) -> None:
    if unseen > guard * live:
        raise Refused(
            "{unseen:,} of {live:,} known records were not seen ({share:.0%}, the guard allows {guard:.0%}): "
            "nothing is deleted",
            "If they are really gone: collect run {collection} --set strategy.shrink_guard=1",
            code="COL-0417",
            unseen=unseen,
            live=live,
            share=unseen / live,
            guard=guard,
            collection=sweep.collection,
        )


async def judged(unseen: Sequence[Unseen], collector: Collector) -> tuple[list[Unseen], list[Unseen]]:
    """Those that are gone, and those of which that is not certain.

    What hangs below a directory that is gone, by its present parent, is gone with it; all else is asked for where the
    collector can, and is gone when the source does not tell and an earlier sweep had missed it, too.
    """
    gone: list[Unseen] = []
    uncertain: list[Unseen] = []
    left = [each for each in unseen if each.kind == "directory"]
    dead: set[str] = set()
    while left:
        known = {each.id for each in left}
        top = [each for each in left if each.parent_id not in known] or left
        certain, rest = await _sorted_out(top, dead, collector)
        gone, uncertain = gone + certain, uncertain + rest
        dead |= {each.id for each in certain}
        judged_now = {each.id for each in top}
        left = [each for each in left if each.id not in judged_now]
    certain, rest = await _sorted_out([each for each in unseen if each.kind != "directory"], dead, collector)
    return gone + certain, uncertain + rest


async def _sorted_out(
    some: Sequence[Unseen], dead: AbstractSet[str], collector: Collector
) -> tuple[list[Unseen], list[Unseen]]:
    alone = [each for each in some if each.parent_id not in dead]
    said = await _asked(alone, collector)
    certain = [each for each in some if each.parent_id in dead or _is_gone(each, said)]
    there = {(each.kind, each.id) for each in certain} | {key for key, still in said.items() if still}
    return certain, [each for each in some if (each.kind, each.id) not in there]


def _is_gone(each: Unseen, said: Mapping[tuple[str, str], bool]) -> bool:
    still_there = said.get((each.kind, each.id))
    return each.again if still_there is None else not still_there


async def _asked(some: Iterable[Unseen], collector: Collector) -> dict[tuple[str, str], bool]:
    """What the source says of each; nothing of those it will not tell of, or that are too many to be asked for."""
    said: dict[tuple[str, str], bool] = {}
    if not isinstance(collector, Confirming):
        return said
    for kind in KINDS:
        ids = [each.id for each in some if each.kind == kind][:MOST_ASKED]
        for start in range(0, len(ids), ASKED_AT_ONCE):
            try:
                found = await collector.exist(kind, ids[start : start + ASKED_AT_ONCE])
            except Misconfigured:  # a source that does not let us ask has not said that anything is gone
                return said
            said |= {(kind, id): still for id, still in found.items()}
    return said


def _mark_documents(sweep: Sweep, kind: str, graves: Graves, documents: Documents, cache: Cache) -> None:
    """Rows come first, so that whatever stops it is found again by the rows."""
    while tombstones := graves.half_buried(sweep, kind):
        found = documents.read(sweep.tenant, sweep.collection, kind, list(tombstones))
        documents.write([_marked(each, found.get(id)) for id, each in tombstones.items()])
        cache.drop(sweep.tenant, keys_of(sweep.tenant, sweep.collection, ((kind, id) for id in tombstones)))
        graves.buried(sweep, kind, list(tombstones))


def _marked(tombstone: Document, found: Document | None) -> Document:
    """It keeps what it held, where it holds what its row says."""
    if found is None or found.content_hash != tombstone.content_hash:
        return tombstone
    return replace(tombstone, content=found.content, metadata=found.metadata)
