"""Loader processes kept alive: beside a run for as long as it lasts, or for as long as somebody wants them."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.loader import MISCONFIGURED, WHILE_FED
from blocks.stores import Storage
from collectors.errors import Misconfigured
from collectors.keeping import until_stopped

SECONDS_BETWEEN = 1.0
SECONDS_TO_FINISH = 30.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def loader_beside(storage: Storage, stop: asyncio.Event) -> AsyncIterator[None]:
    """None where publishing is applying already.

    `stop` is set when none can work as things are set up, and Misconfigured raised in the end.
    """
    if storage.deliveries is None:
        yield
        return
    over = asyncio.Event()
    keeping = asyncio.create_task(kept_alive(over, stdout=subprocess.DEVNULL))
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


async def kept_alive(stop: asyncio.Event, stdout: int | None = None) -> int:
    """One loader after another, until a stop is asked for; or until one cannot work as things are set up.

    Answers the exit code of the last one, 0 after a stop.
    """
    while not stop.is_set():
        # It ends with its stdin, and so with this process, whatever ends that; Ctrl-C is for this process to hear.
        loader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "blocks.loader", WHILE_FED),
            stdin=subprocess.PIPE,
            stdout=stdout,
            start_new_session=True,
        )
        code = await until_stopped(stop, loader.wait())
        if code is None:
            await _ended(loader)
        elif code == MISCONFIGURED:
            stop.set()
            return code
        else:
            log.warning("a loader ended with %s; another one takes its place", code)
            await until_stopped(stop, asyncio.sleep(SECONDS_BETWEEN))
    return 0


async def _ended(loader: asyncio.subprocess.Process) -> None:
    """It finishes what it has in hand; one that is frozen is killed, and that comes again to another one."""
    loader.stdin.close()
    try:
        async with asyncio.timeout(SECONDS_TO_FINISH):
            await loader.wait()
    except TimeoutError:
        log.warning("a loader did not end within %g s, and is killed", SECONDS_TO_FINISH)
        loader.kill()
        await loader.wait()
