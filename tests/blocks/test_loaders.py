"""A loader beside a run."""

import asyncio

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


async def test_a_run_whose_loader_cannot_work_is_stopped_and_told(tmp_path, monkeypatch):
    """The loader's own settings, from its environment, name no servers."""
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path))
    where = dict(zip(ROLES, ADDRESSES, strict=True))
    settings, stop = Settings(tmp_path, None, addresses(where), {"url": b"key"}), asyncio.Event()
    with open_storage(settings) as storage, pytest.raises(Misconfigured, match="COL-0685"):
        async with asyncio.timeout(20), loaders.loader_beside(storage, stop):
            await stop.wait()
