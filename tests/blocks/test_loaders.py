"""Loader processes kept alive, and ended, whatever became of them."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from blocks import loaders
from blocks.addresses import ROLES, addresses
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured

ADDRESSES = [
    "mysql+pymysql://u:p@127.0.0.1:9/collect",
    "mongodb://127.0.0.1:9/collect?replicaSet=rs0",
    "redis://127.0.0.1:9/0",
    "amqp://u:p@127.0.0.1:9/%2F",
]


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


async def test_a_run_whose_loader_cannot_work_is_stopped_and_told(tmp_path, monkeypatch):
    """The loader's own settings, from its environment, name no servers."""
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path))
    where = dict(zip(ROLES, ADDRESSES, strict=True))
    settings, stop = Settings(tmp_path, None, addresses(where), {"url": b"key"}), asyncio.Event()
    with open_storage(settings) as storage, pytest.raises(Misconfigured, match="COL-0685"):
        async with asyncio.timeout(20), loaders.loader_beside(storage, stop):
            await stop.wait()
