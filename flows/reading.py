"""The shards of a stage, side by side, until none is left that may be read: whichever are paused, resumed or retried
meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import random
from typing import Any

from anyio import to_thread
from prefect.logging import get_run_logger

from blocks.workspace import Workspace
from collectors.keeping import until_stopped
from collectors.states import Desired, ShardState
from flows.staying import LOOK_EVERY, SECONDS_IN_PLACE

One = Callable[[Workspace, str, asyncio.Event, asyncio.Event, Callable[[], None]], Awaitable[None]]


async def read_stage(here: Workspace, stage: str, stop: asyncio.Event, one: One) -> None:
    """Shards side by side up to the concurrency that is in force, started one after another.

    Ends when all of them have ended, or when the others are held back: by `stop`, or by pauses of their own that take
    too long. `one` reads a shard, sets its first event as soon as the next one may start, and may call what it is given
    last when the shard can be read anew before all is told to Prefect.
    """
    reading = _Reading(here, stage, stop)
    try:
        async with asyncio.TaskGroup() as group:
            async for shard_id in reading.due():
                started = asyncio.Event()
                task = group.create_task(one(here, shard_id, started, stop, partial(reading.let_go, shard_id)))
                reading.begun(shard_id, task)
                await started.wait()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


class _Reading:
    """Which shards of a stage are being read, and which is next."""

    def __init__(self, here: Workspace, stage: str, stop: asyncio.Event) -> None:
        self._here, self._stage, self._stop = here, stage, stop
        self._read: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, int], float] = {}
        self._ended = asyncio.Event()
        self._held_back_since: float | None = None

    def begun(self, shard_id: str, task: asyncio.Task[None]) -> None:
        self._read[shard_id] = task
        task.add_done_callback(lambda _: self._read.get(shard_id) is task and self.let_go(shard_id))

    def let_go(self, shard_id: str) -> None:
        self._read.pop(shard_id, None)
        self._ended.set()

    async def due(self) -> AsyncIterator[str]:
        """The next shard, whenever there is one and a place for it."""
        while not self._stop.is_set():
            self._ended.clear()
            room = len(self._read) < self._here.concurrency
            if room and (shard_id := await self._next()):
                self._held_back_since = None
                yield shard_id
            elif self._read or not await self._is_over():
                await self._a_moment()
            else:
                return

    async def _next(self) -> str | None:
        most = self._here.concurrency + len(self._read) + len(self._not_before)
        due = await to_thread.run_sync(self._here.storage.catalog.due, self._here.run_id, self._stage, most)
        return next((each["shard_id"] for each in due if each["shard_id"] not in self._read and self._may(each)), None)

    def _may(self, shard: dict[str, Any]) -> bool:
        """Those that failed are tried again after a pause."""
        failures = shard["failures"] or 0
        if shard["state"] != ShardState.RETRYING or not failures:
            return True
        key = shard["shard_id"], failures
        if key not in self._not_before:
            pause = self._here.collection.strategy.shard_retry.pause(failures, random())
            self._not_before[key] = time.monotonic() + pause
            get_run_logger().info("shard %s is tried again in %.1f s", shard["shard_id"], pause)
        return time.monotonic() >= self._not_before[key]

    async def _is_over(self) -> bool:
        """Whether nothing is left, or only what is held back, and this process is not to stay for it."""
        wishes = await to_thread.run_sync(self._here.storage.catalog.held_back, self._here.run_id, self._stage)
        if Desired.RUN in wishes:
            self._held_back_since = None
            return False
        self._held_back_since = self._held_back_since or time.monotonic()
        return not wishes or time.monotonic() - self._held_back_since > SECONDS_IN_PLACE

    async def _a_moment(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(until_stopped(self._stop, self._ended.wait()), LOOK_EVERY)
