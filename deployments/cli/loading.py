"""`load`: loader processes in the foreground, beside the runs or on machines of their own."""

import asyncio
import signal
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.children import kept_alive
from blocks.loader import WHILE_FED, deliveries_of
from blocks.loaders import MODULE
from blocks.settings import Settings
from blocks.stores import open_storage
from deployments.cli.output import say


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
    return max(await asyncio.gather(*(kept_alive(stop, MODULE, WHILE_FED) for _ in range(replicas))))
