"""Loader processes kept alive, and ended, whatever became of them."""

import asyncio
import os
import signal
from pathlib import Path

from blocks import loaders


def children() -> list[int]:
    own = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


async def test_a_loader_that_is_frozen_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(loaders, "SECONDS_TO_FINISH", 0.5)
    before, stop = set(children()), asyncio.Event()
    keeping = asyncio.create_task(loaders.kept_alive(stop))
    while not (started := set(children()) - before):
        await asyncio.sleep(0)
    (loader,) = started
    os.kill(loader, signal.SIGSTOP)
    stop.set()
    async with asyncio.timeout(10):
        assert await keeping == 0
    assert loader not in children()
