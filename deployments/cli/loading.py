"""`load`: loader processes in the foreground, beside the runs or on machines of their own."""

import asyncio
import signal
import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.loader import MISCONFIGURED, WHILE_FED, deliveries_of
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.keeping import until_stopped
from deployments.cli.output import say

SECONDS_BETWEEN = 1.0


def load(*, replicas: Annotated[int, Parameter(show_default=True, validator=Number(gte=1, lte=64))] = 1) -> int:
    """Load what runs publish into the stores, until Ctrl-C; for the full stack only.

    Examples
        $ collect load
        $ collect load --replicas 2

    Parameters
    ----------
    replicas
        processes side by side; one that dies is started again
    """
    with open_storage(Settings.load()) as storage:
        deliveries_of(storage)
    say("loading with {count} processes, until Ctrl-C", count=replicas)
    return asyncio.run(_side_by_side(replicas))


async def _side_by_side(replicas: int) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)  # the second one does what it always does

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, first)
    return max(await asyncio.gather(*(_kept_alive(stop) for _ in range(replicas))))


async def _kept_alive(stop: asyncio.Event) -> int:
    """One loader after another, until a stop is asked for; or until one cannot work as things are set up."""
    while not stop.is_set():
        # It ends with its stdin, and so with this process, whatever ends that.
        loader = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "blocks.loader", WHILE_FED, stdin=asyncio.subprocess.PIPE
        )
        code = await until_stopped(stop, loader.wait())
        if code is None:
            loader.stdin.close()
            await loader.wait()
        elif code == MISCONFIGURED:
            stop.set()
            return code
        else:
            say("a loader ended with {code}; another one takes its place", code=code)
            await until_stopped(stop, asyncio.sleep(SECONDS_BETWEEN))
    return 0
