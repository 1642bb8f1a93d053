"""What complete full runs no longer saw becomes a tombstone, in every store; never on the word of an incomplete one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from anyio import to_thread

from collectors.caching import keys_of
from collectors.errors import NotAllowed, Refused
from collectors.interfaces import Cache, Collector, Confirming, Documents
from collectors.models import KINDS, Document

MOST_ASKED = 1_000  # records of a kind that are confirmed one by one in one sweep; the others wait for the next one
ASKED_AT_ONCE = 50
CHUNK = 1_000


class Unseen(NamedTuple):
    """A live record that a complete sweep did not see; `again`: nor did one that had ended before it began."""

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

    def acquit(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Note that the source has them: no sweep has missed them."""

    def bury(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Mark those as deleted that are still unseen."""

    def buried_by(self, sweep: Sweep) -> int:
        """How many tombstones of this sweep there are."""

    def half_buried(self, sweep: Sweep, kind: str) -> Iterable[dict[str, Document]]:
        """Tombstones whose documents may be live still, in chunks, by id: as documents without content."""

    def buried(self, sweep: Sweep, kind: str, ids: Sequence[str]) -> None:
        """Their documents are marked, too."""


class Swept(NamedTuple):
    deleted: int
    missing: int  # not seen, and not certainly gone
    there: int = 0  # not listed, and there all the same


class Judgement(NamedTuple):
    """Of what was not seen: what is gone, what the source says is there, and what is not certain."""

    gone: list[Unseen]
    there: list[Unseen]
    uncertain: list[Unseen]


async def swept(
    sweep: Sweep, graves: Graves, documents: Documents, cache: Cache, collector: Collector, guard: float
) -> Swept:
    """Close the sweep of a run that has read every shard, after `finish_tombstones`. May be repeated.

    Raises Refused when it must not be closed: nothing is deleted then.
    """
    await to_thread.run_sync(graves.refuse_open, sweep)
    unseen = await to_thread.run_sync(graves.unseen, sweep)
    _refuse_shrinking(sweep, len(unseen), await to_thread.run_sync(graves.live, sweep), guard)
    gone, there, uncertain = await judged(unseen, collector)
    for kind in KINDS:
        for noted, some in ((graves.acquit, there), (graves.suspect, uncertain), (graves.bury, gone)):
            await to_thread.run_sync(noted, sweep, kind, [each.id for each in some if each.kind == kind])
    if gone:
        await to_thread.run_sync(finish_tombstones, sweep, graves, documents, cache)
    return Swept(await to_thread.run_sync(graves.buried_by, sweep), len(uncertain), len(there))


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


async def judged(unseen: Sequence[Unseen], collector: Collector) -> Judgement:
    """Which are gone, and which are not certainly so.

    Each is asked for where the collector can, also below a directory that is gone: it may have been moved out of it by
    the source, which only the source knows. What the source does not tell of is gone when an earlier sweep had missed
    it, too. Of those that are too many to be asked for, whatever hangs below a directory that is gone is gone with it,
    unless one that hung there is known to be elsewhere.
    """
    said = await _asked(unseen, collector)
    dead = {each.id for each in unseen if each.kind == "directory" and _is_gone(each, said)}
    left_in_time = {each.parent_id for each in unseen if said.get(_key(each))}
    covered = dead - left_in_time
    gone = [each for each in unseen if _is_gone(each, said) or (_key(each) not in said and each.parent_id in covered)]
    there = [each for each in unseen if said.get(_key(each))]
    known = {_key(each) for each in (*gone, *there)}
    return Judgement(gone, there, [each for each in unseen if _key(each) not in known])


def _key(each: Unseen) -> tuple[str, str]:
    return each.kind, each.id


def _is_gone(each: Unseen, said: Mapping[tuple[str, str], bool | None]) -> bool:
    """What was not even asked for waits for the next sweep."""
    if _key(each) not in said:
        return False
    still_there = said[_key(each)]
    return each.again if still_there is None else not still_there


async def _asked(some: Sequence[Unseen], collector: Collector) -> dict[tuple[str, str], bool | None]:
    """What the source says of each, None where it does not tell; those that are too many are left out."""
    if not isinstance(collector, Confirming):
        return {_key(each): None for each in some}
    said: dict[tuple[str, str], bool | None] = {}
    for kind in KINDS:
        longest_missing_first = sorted((each for each in some if each.kind == kind), key=lambda each: not each.again)
        ids = [each.id for each in longest_missing_first][:MOST_ASKED]
        for start in range(0, len(ids), ASKED_AT_ONCE):
            asked = ids[start : start + ASKED_AT_ONCE]
            said |= {(kind, id): still for id, still in zip(asked, await _told(collector, kind, asked), strict=True)}
    return said


async def _told(collector: Confirming, kind: str, ids: Sequence[str]) -> list[bool | None]:
    try:
        found = await collector.exist(kind, ids)
    except NotAllowed:  # a source that does not let us ask has not said that anything is gone
        return [None] * len(ids)
    return [found.get(id) for id in ids]


def finish_tombstones(sweep: Sweep, graves: Graves, documents: Documents, cache: Cache) -> None:
    """Mark the documents of what is gone by its row, also of an earlier sweep that was stopped half-way.

    Rows come first, so that whatever stops it is found again by the rows: by the next run, whatever its mode.
    """
    for kind in KINDS:
        for tombstones in graves.half_buried(sweep, kind):
            found = documents.read(sweep.tenant, sweep.collection, kind, list(tombstones))
            documents.write([_marked(each, found.get(id)) for id, each in tombstones.items()])
            cache.drop(sweep.tenant, keys_of(sweep.tenant, sweep.collection, ((kind, id) for id in tombstones)))
            graves.buried(sweep, kind, list(tombstones))


def _marked(tombstone: Document, found: Document | None) -> Document:
    """It keeps what it held, where it holds what its row says."""
    if found is None or found.content_hash != tombstone.content_hash:
        return tombstone
    return replace(tombstone, content=found.content, metadata=found.metadata)
