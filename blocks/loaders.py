"""Loader processes: beside a run for as long as it lasts."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.children import kept_alive
from blocks.loader import WHILE_FED
from blocks.stores import Storage
from collectors.errors import Misconfigured

MODULE = "blocks.loader"


@asynccontextmanager
async def loader_beside(storage: Storage, stop: asyncio.Event) -> AsyncIterator[None]:
    """None where publishing is applying already.

    `stop` is set when none can work as things are set up, and Misconfigured raised in the end.
    """
    if storage.deliveries is None:
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
