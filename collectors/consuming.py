"""The far end of the queue: batches are taken, applied in threads, and acknowledged last."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import to_thread

from collectors.errors import CollectError, Misconfigured, Unreachable, Unusable, named
from collectors.interfaces import Deliveries, Delivery
from collectors.keeping import until_stopped
from collectors.loading import Loader
from collectors.pacing import pauses

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
STORES_AWAY = (Unreachable, Unusable, Misconfigured)
Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass
class Consumer:
    """Applies batches until `stop` is set: what it has in hand is finished then, the rest comes again to somebody."""

    deliveries: Deliveries
    loader: Loader
    stop: asyncio.Event
    workers: int = 2
    _stores_away: bool = field(default=False, init=False)
    _in_hand: int = field(default=0, init=False)
    _busy_until: float = field(default=0.0, init=False)

    @property
    def idle_seconds(self) -> float:
        """Since the last batch was settled; none while there is one in hand."""
        return 0.0 if self._in_hand else time.monotonic() - self._busy_until

    async def run(self, on_taking: Callable[[], None]) -> None:
        """Calls `on_taking` whenever batches begin to come. A queue that goes away is waited for as long as it takes.

        Raises Misconfigured when it cannot even begin.
        """
        began, waits = False, pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while not self.stop.is_set():
            try:
                async with self.deliveries.taken() as batches:
                    began, waits = True, pauses(FIRST_PAUSE, LONGEST_PAUSE)
                    on_taking()
                    await self._take(batches)
            except (Unreachable, Misconfigured) as error:
                if not began and isinstance(error, Misconfigured):
                    raise
                pause = next(waits)
                log.log(logging.WARNING if pause == FIRST_PAUSE else logging.DEBUG, "no batches come: %s", error.what)
                await until_stopped(self.stop, asyncio.sleep(pause))

    async def _take(self, batches: AsyncIterator[Delivery]) -> None:
        """Ends when a stop is asked for, or the queue fails one of the workers; the others finish what they have."""
        over, turn = asyncio.Event(), asyncio.Lock()
        working = [self._work(batches, over, turn) for _ in range(self.workers)]
        for failed in await asyncio.gather(*working, return_exceptions=True):
            if failed:
                raise failed

    async def _work(self, batches: AsyncIterator[Delivery], over: asyncio.Event, turn: asyncio.Lock) -> None:
        try:
            while delivery := await self._next(batches, over, turn):
                await self._settle(delivery, over)
        finally:
            over.set()

    async def _next(self, batches: AsyncIterator[Delivery], over: asyncio.Event, turn: asyncio.Lock) -> Delivery | None:
        async with turn:
            if over.is_set() or self.stop.is_set():
                return None
            return await self._unless(over, anext(batches))

    async def _settle(self, delivery: Delivery, over: asyncio.Event) -> None:
        """Applied and acknowledged, or delayed; while the stores are away it is held, and tried again."""
        waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._in_hand += 1
        try:
            while not await self._tried(delivery):
                await self._unless(over, asyncio.sleep(next(waits)))
                if over.is_set() or self.stop.is_set():
                    return
        finally:
            self._in_hand -= 1
            self._busy_until = time.monotonic()

    async def _tried(self, delivery: Delivery) -> bool:
        """False while the stores are away."""
        try:
            await to_thread.run_sync(self.loader.apply, delivery.batch)
        except STORES_AWAY as error:
            self._told(error)
            return False
        except Exception as error:
            log.exception("batch %s cannot be applied; it comes again later", delivery.batch.batch_id)
            await delivery.later(str(named(error)))
        else:
            self._told(None)
            await delivery.done()
        return True

    def _told(self, error: CollectError | None) -> None:
        """A line when the stores go away, and a line when they are back."""
        if error and not self._stores_away:
            log.warning("batches wait, the stores do not take them: %s", error.what)
        if self._stores_away and not error:
            log.warning("the stores take batches again")
        self._stores_away = error is not None

    async def _unless(self, over: asyncio.Event, work: Awaitable[Result]) -> Result | None:
        return await until_stopped(over, until_stopped(self.stop, work))
