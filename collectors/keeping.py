"""Keeping a lease while working, and hearing of it when somebody wants the work to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import to_thread

from collectors.states import Desired

Result = TypeVar("Result")


class Stop(asyncio.Event):
    """Set when the work is to stop: because of what is `desired`, or because its lease cannot be kept."""

    desired = Desired.RUN


@asynccontextmanager
async def kept(renew: Callable[[], Desired], every: float) -> AsyncIterator[Stop]:
    """Calls `renew` until the block is left; answers what it told.

    Raises what made a renewal fail, when the block ends without an error of its own.
    """
    stop = Stop()

    async def keep() -> None:
        try:
            while True:
                stop.desired = await to_thread.run_sync(renew)
                if stop.desired is not Desired.RUN:
                    stop.set()
                await asyncio.sleep(every)
        finally:
            stop.set()

    keeper = asyncio.create_task(keep())
    try:
        yield stop
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})
    if not keeper.cancelled():
        keeper.result()


async def until_stopped(stop: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """What `work` gives, or None when a stop is asked for first; a request on its way is dropped then."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
