"""What was confirmed and never reached the stores is fetched again from the source: no broker has to be trusted.

Batches that stand still while nothing moves in the queue are taken for lost. Their records are asked for by id where
the collector can do that, else the spans of their shards are read again until all of them were seen.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from anyio import to_thread

from collectors.errors import CollectError, Unreachable
from collectors.interfaces import ById, Collector, Queue, RunClaim
from collectors.models import Batch, Json, Page, Quarantined
from collectors.reading import sift

QUIET_SECONDS = 60.0
MOST_ATTEMPTS = 3
LOOK_EVERY, LOOK_FOR_LOST = 0.05, 1.0
IDS_AT_ONCE = 100
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A confirmed batch that is not in every store, and where in the source its records were read."""

    batch: Batch  # without its records
    identities: tuple[tuple[str, str], ...]
    stage: str
    span: dict[str, Any]


class Refusal(NamedTuple):
    """A record of a lost batch that is refused at the second look; its position is that in the batch."""

    batch: Batch
    record: Quarantined


class Ledger(Protocol):
    """What recovery needs of the ledger."""

    def open_stages(self, run_id: str) -> frozenset[tuple[str, str]]:
        """The (batch id, stage) of a run's confirmed batches that are not in every store."""

    def open_batches(self, run_id: str) -> list[OpenBatch]: ...

    def observe(self) -> int: ...

    def replace(
        self, claim: RunClaim, lost: Sequence[Batch], found: Sequence[Batch], refused: Sequence[Refusal]
    ) -> None:
        """From one transaction on `found` and `refused` count, and `lost` do not."""


async def loaded(ledger: Ledger, run_id: str) -> None:
    """Returns when every confirmed batch of the run is in every store."""
    while await to_thread.run_sync(ledger.open_stages, run_id):
        await asyncio.sleep(LOOK_EVERY)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Sees to it that what one run has read gets into the stores."""

    claim: RunClaim
    ledger: Ledger
    collector: Collector
    queue: Queue
    attempts: Counter[str] = field(default_factory=Counter)

    async def watch(self) -> None:
        """Never returns. Raises CollectError when batches do not get there although they were fetched again several
        times.
        """
        moved, seen = time.monotonic(), frozenset()
        while True:
            standing = await to_thread.run_sync(self.ledger.open_stages, self.claim.run_id)
            if not standing or standing != seen or await self._moves():
                moved, seen = time.monotonic(), standing
            elif time.monotonic() - moved > QUIET_SECONDS:
                await self._fetch_again(await to_thread.run_sync(self.ledger.open_batches, self.claim.run_id))
            await asyncio.sleep(LOOK_FOR_LOST)

    async def _moves(self) -> bool:
        """Whether the queue holds something that will come. One that is away may hold anything."""
        try:
            return await self.queue.waiting() > 0
        except Unreachable:
            return True

    async def _fetch_again(self, lost: Sequence[OpenBatch]) -> None:
        log.warning("%d batches were confirmed and lost; their records are fetched again", len(lost))
        self._count(lost)
        for _, of_shard in groupby(sorted(lost, key=_shard), key=_shard):
            group = list(of_shard)
            found, refused = await self._found(group)
            await to_thread.run_sync(self.ledger.replace, self.claim, [each.batch for each in group], found, refused)

    def _count(self, lost: Sequence[OpenBatch]) -> None:
        self.attempts.update(each.batch.origin for each in lost)
        if max(self.attempts.values()) > MOST_ATTEMPTS:
            raise CollectError(
                "{count} batches do not reach the stores, though they were fetched again {times} times",
                "See where they stand: collect ledger {run}; when the cause is gone: collect resume {run}",
                code="COL-0512",
                count=len(lost),
                times=MOST_ATTEMPTS,
                run=lost[0].batch.run_id,
            )

    async def _found(self, lost: Sequence[OpenBatch]) -> tuple[list[Batch], list[Refusal]]:
        """What the source has now of the lost batches of one shard, published again; what is gone is left out."""
        found: list[Batch] = []
        refused: list[Refusal] = []
        missing = {identity: each.batch for each in lost for identity in each.identities}
        async for observation, page in self._pages(lost[0].stage, lost[0].span, missing):
            records, bad = sift(self.collector, lost[0].stage, page.items)
            for old in lost:
                mine = tuple(each for each in records if missing.get((each.kind, each.id)) is old.batch)
                if mine:
                    found.append(replace(old.batch, observation=observation, records=mine))
                    await self.queue.publish(found[-1])
                refused += _refused(old, bad)
            for each in records:
                missing.pop((each.kind, each.id), None)
        return found, refused

    async def _pages(
        self, stage: str, span: dict[str, Any], missing: Collection[tuple[str, str]]
    ) -> AsyncIterator[tuple[int, Page]]:
        """Pages that may hold what is `missing`, as long as anything is, each with an observation number."""
        if isinstance(self.collector, ById):
            ids = sorted({id for _, id in missing})
            for start in range(0, len(ids), IDS_AT_ONCE):
                observation = await to_thread.run_sync(self.ledger.observe)
                yield observation, await self.collector.fetch_ids(stage, ids[start : start + IDS_AT_ONCE])
            return
        cursor: Json = None
        while missing:
            observation = await to_thread.run_sync(self.ledger.observe)
            page = await self.collector.fetch(stage, span, cursor)
            yield observation, page
            if (cursor := page.cursor) is None:
                return


def _refused(lost: OpenBatch, bad: Sequence[Quarantined]) -> list[Refusal]:
    places = {id: place for place, (_, id) in enumerate(lost.identities)}
    return [
        Refusal(lost.batch, replace(each, position=places[each.record_id])) for each in bad if each.record_id in places
    ]


def _shard(each: OpenBatch) -> str:
    return each.batch.shard_id
