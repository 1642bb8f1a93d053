"""A loader process: beside a run for as long as it lasts, or beside all the runs of a process that carries them out."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from blocks.children import kept_alive
from blocks.loader import WHILE_FED
from blocks.stores import Storage
from collectors.errors import Misconfigured

MODULE = "blocks.loader"
_stays: ContextVar[bool] = ContextVar("stays", default=False)


def loader_stays() -> bool:
    """Whether one goes on loading when the run has ended."""
    return _stays.get()


@asynccontextmanager
async def loader_staying(storage: Storage, stop: asyncio.Event) -> AsyncIterator[None]:
    """Beside all runs that begin meanwhile, none of which starts another one."""
    async with loader_beside(storage, stop):
        token = _stays.set(True)
        try:
            yield
        finally:
            _stays.reset(token)


@asynccontextmanager
async def loader_beside(storage: Storage, stop: asyncio.Event) -> AsyncIterator[None]:
    """None where publishing is applying already, or where one stays.

    `stop` is set when none can work as things are set up, and Misconfigured raised in the end.
    """
    if storage.deliveries is None or loader_stays():
        yield
        return
    over = asyncio.Event()
    keeping = asyncio.create_task(kept_alive(over, MODULE, WHILE_FED, stdout=subprocess.DEVNULL))
    keeping.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        over.set()
        code = await asyncio.shield(keeping)
    if code:
        raise Misconfigured(
            "no loader can work as things are set up here",
            "See why with: collect storage check; then: collect load",
            code="COL-0685",
        )
