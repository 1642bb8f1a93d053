"""Child processes kept alive, and ended, whatever became of them."""

import asyncio
import os
import signal
from pathlib import Path

from blocks import children
from blocks.loader import WHILE_FED


def started() -> list[int]:
    own = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


async def test_a_child_that_is_frozen_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(children, "SECONDS_TO_FINISH", 0.5)
    before, stop = set(started()), asyncio.Event()
    keeping = asyncio.create_task(children.kept_alive(stop, "blocks.loader", WHILE_FED))
    while not (found := set(started()) - before):
        await asyncio.sleep(0)
    (child,) = found
    os.kill(child, signal.SIGSTOP)
    stop.set()
    async with asyncio.timeout(10):
        assert await keeping == 0
    assert child not in started()
