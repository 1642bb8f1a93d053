"""One shard: claim, fetch, validate, publish, checkpoint, page after page.

The cursor is committed after the batch is durable, so whatever interrupts a shard costs at most one page read again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from anyio import to_thread
from pydantic import ValidationError

from collectors.conditional import NotModified, unless
from collectors.errors import CollectError, Fenced, Misconfigured, Rejected, Unreachable, Unusable, named
from collectors.exact_json import Flawed
from collectors.interfaces import Claim, Collector, Progress, Queue, Standing
from collectors.keeping import kept, until_stopped
from collectors.known_pages import KnownPage, Pages, known_page, place_of
from collectors.models import Batch, Collection, Json, Page, Quarantined, Record, errors_within, page_label
from collectors.quarantine import TooMany, quarantined, too_many
from collectors.states import Desired, ShardState

MOST_OPEN_BATCHES = 24
LOOK_EVERY = 0.1
LOOK_BEHIND_OTHERS = 0.5  # there may be sixty of them
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads shards of one collection: from its collector, into the queue, leaving checkpoints."""

    collection: Collection
    collector: Collector
    progress: Progress
    queue: Queue
    renew_every: float
    epoch: int = 0
    takes: Callable[[Record], bool] = lambda record: True  # whether a record belongs to what is collected
    pages: Pages | None = None  # where known pages are looked up; None: each is read record by record
    concurrency: Callable[[], float] = lambda: math.inf  # how many shards of the run may be read side by side now

    async def read(self, claim: Claim) -> ShardState:
        """Read the shard to its end, or until it is to stop. Leaves it COMPLETED, PAUSED, CANCELLED, RETRYING or
        FAILED, and says which.

        Raises Fenced when another worker took the shard over; that worker has it now. Raises Unusable or Unreachable
        when queue or stores do not take what was read: the shard stays as its last checkpoint left it.
        """
        try:
            state = await self._pages(claim)
        except (Fenced, Unusable, Unreachable):
            raise
        except asyncio.CancelledError:
            with suppress(CollectError):
                await asyncio.shield(self._release(claim, ShardState.PAUSED, "stopped"))
            raise
        except CollectError as error:
            return await self._release(claim, self._failed(claim, error), str(error))
        except Exception as error:
            log.exception("shard %s/%s failed unexpectedly", claim.run_id, claim.shard_id)
            return await self._release(claim, ShardState.FAILED, str(named(error)))
        return await self._release(claim, state)

    def _failed(self, claim: Claim, error: CollectError) -> ShardState:
        """What a person has to put right is not tried again by itself."""
        again = claim.failures + 1 < self.collection.strategy.shard_retry.attempts
        return ShardState.RETRYING if again and not isinstance(error, Misconfigured | TooMany) else ShardState.FAILED

    async def _release(self, claim: Claim, state: ShardState, error: str | None = None) -> ShardState:
        await to_thread.run_sync(self.progress.release, claim, state, error)
        return state

    async def _pages(self, claim: Claim) -> ShardState:
        number, cursor = claim.page, claim.cursor
        if number and cursor is None:
            return ShardState.COMPLETED
        seen = {_canonical(cursor)}
        async with kept(partial(self.progress.renew, claim), self.renew_every) as stop:
            while True:
                read = await self._page(claim, number, cursor, seen, stop)
                if read is None:
                    return _stopped(stop.desired)
                cursor, standing = read
                number += 1
                if cursor is None:
                    return ShardState.COMPLETED
                if standing.desired is not Desired.RUN:
                    return _stopped(standing.desired)
                if self._pause(standing) and not await until_stopped(stop, self._room(claim)):
                    return _stopped(stop.desired)

    async def _page(
        self, claim: Claim, number: int, cursor: Json, seen: set[bytes], stop: asyncio.Event
    ) -> tuple[Json, Standing] | None:
        """Where the next page begins, and how the run stands; None when it was told to stop first."""
        observation = await to_thread.run_sync(self.progress.observe)
        place = self._place(claim, cursor)
        known = place and await to_thread.run_sync(
            self.pages.recall, self.collection.tenant, self.collection.name, place
        )
        try:
            with unless(known and known.etag) as condition:
                page = await until_stopped(stop, self.collector.fetch(claim.stage, claim.span, cursor))
        except NotModified:
            _refuse_circle(claim, number, known.cursor, seen)
            if standing := await self._repeated(claim, number, observation, known):
                return known.cursor, standing
            seen.discard(_canonical(known.cursor))
            with unless(None) as condition:  # another answer may come by now: its ETag is the one to remember
                page = await until_stopped(stop, self.collector.fetch(claim.stage, claim.span, cursor))
        if page is None:
            return None
        _refuse_circle(claim, number, page.cursor, seen)
        if known and known.is_said_by(page):
            same = replace(known, etag=condition.etag)
            if standing := await self._repeated(claim, number, observation, same):
                return page.cursor, standing
        return page.cursor, await self._keep(claim, number, observation, page, place, condition.etag)

    async def _room(self, claim: Claim) -> bool:
        """True as soon as it need not wait any more."""
        while pause := self._pause(await to_thread.run_sync(self.progress.standing, claim)):
            await asyncio.sleep(pause)
        return True

    def _pause(self, standing: Standing) -> float:
        """Seconds to wait while enough shards before it are being read; and while loading is too far behind, so that
        what is read is soon in the stores."""
        if standing.ahead >= self.concurrency():
            return LOOK_BEHIND_OTHERS
        return LOOK_EVERY if standing.open_batches > MOST_OPEN_BATCHES else 0.0

    def _place(self, claim: Claim, cursor: Json) -> str | None:
        """Under which name a page is known; None where pages are not."""
        if self.pages is None:
            return None
        return place_of(self.collection, self.collector, claim.stage, claim.span, cursor)

    async def _repeated(self, claim: Claim, number: int, observation: int, known: KnownPage) -> Standing | None:
        batch = self._batch(claim, page_label(claim.round, number, 0), observation, (), time.time_ns() // 1_000)
        return await to_thread.run_sync(self.progress.repeat, claim, batch, number, known)

    async def _keep(
        self, claim: Claim, number: int, observation: int, page: Page, place: str | None, etag: str | None
    ) -> Standing:
        arrived_at = time.time_ns() // 1_000
        found, refused = sift(self.collector, claim.stage, page.items)
        records = [record for record in found if self.takes(record)]
        batches = self._batches(claim, number, observation, records, arrived_at)
        for batch in batches:
            await self.queue.publish(batch)
        standing = await to_thread.run_sync(
            self.progress.checkpoint,
            claim,
            number,
            page.cursor,
            batches,
            refused,
            len(records) + len(refused),
            page.whole,
            known_page(place, page, records, self.epoch, etag) if place and not refused else None,
        )
        allowed = errors_within(self.collection.strategy.max_errors, standing.planned)
        if standing.quarantined > allowed:
            raise too_many(claim.run_id, standing.quarantined, allowed)
        return standing

    def _batches(
        self, claim: Claim, number: int, observation: int, records: Sequence[Record], arrived_at: int
    ) -> list[Batch]:
        size = self.collection.strategy.batch_size
        return [
            self._batch(
                claim,
                page_label(claim.round, number, part),
                observation,
                tuple(records[start : start + size]),
                arrived_at,
            )
            for part, start in enumerate(range(0, len(records), size))
        ]

    def _batch(self, claim: Claim, page: str, observation: int, records: tuple[Record, ...], arrived_at: int) -> Batch:
        return Batch(
            tenant=self.collection.tenant,
            collection=self.collection.name,
            run_id=claim.run_id,
            shard_id=claim.shard_id,
            page=page,
            observation=observation,
            records=records,
            arrived_at=arrived_at,
            epoch=self.epoch,
        )


def _stopped(desired: Desired) -> ShardState:
    return ShardState.CANCELLED if desired is Desired.CANCEL else ShardState.PAUSED


def sift(collector: Collector, stage: str, items: Sequence[Any]) -> tuple[list[Record], list[Quarantined]]:
    """Each item as a record, or refused with its reason; one bad item never costs its neighbours."""
    records: list[Record] = []
    refused: list[Quarantined] = []
    for position, item in enumerate(items):
        try:
            records.append(_record(collector, stage, item))
        except Rejected as error:
            refused.append(quarantined(position, item, error))
        except ValidationError as error:
            refused.append(quarantined(position, item, invalid(error)))
        except Exception as error:  # noqa: BLE001 - a malformed item may make a mapping raise anything
            malformed = Rejected("malformed", "cannot be mapped: {error}", code="COL-0504", error=f"{error!r:.300}")
            refused.append(quarantined(position, item, malformed))
    return records, refused


def _record(collector: Collector, stage: str, item: Any) -> Record:
    if isinstance(item, Flawed):
        raise item.why
    record = collector.map(stage, item)
    record.content_hash  # noqa: B018 - computed here, so that what cannot be stored is refused here
    return record


def invalid(error: ValidationError) -> Rejected:
    """The first of what is wrong with a record."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")
    return Rejected(f"invalid-{first['loc'][0]}", "{field}: {why}", code="COL-0503", field=where, why=why)


def _canonical(cursor: Json) -> bytes:
    return orjson.dumps(cursor, option=orjson.OPT_SORT_KEYS)


def _refuse_circle(claim: Claim, number: int, cursor: Json, seen: set[bytes]) -> None:
    """Raises Misconfigured when a page leads back to where the shard has been."""
    place = _canonical(cursor)
    if cursor is None or place not in seen:
        seen.add(place)
        return
    raise Misconfigured(
        "the source's paging does not advance: page {page} of shard {shard} leads back to {cursor}",
        "The pages read so far are kept. Ask the source's owner; a smaller strategy.page_size may go around it.",
        code="COL-0317",
        page=number + 1,
        shard=claim.shard_id,
        cursor=f"{cursor!r:.100}",
    )
