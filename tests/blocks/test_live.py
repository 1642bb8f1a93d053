"""A process knows what is set without asking, and goes on with what it knew while the database is away."""

import asyncio
import logging

import pytest

from blocks import live
from blocks.live import Live
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Unreachable


@pytest.fixture
def config(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        yield storage.config


class Away:
    """A database that a test takes away."""

    def __init__(self, config):
        self.config, self.away, self.asked = config, False, 0

    def changes(self):
        self.asked += 1
        if self.away:
            raise Unreachable("the database does not answer", code="COL-0621")
        return self.config.changes()

    def values(self):
        return self.config.values()


async def asked(away, times):
    until = away.asked + times
    while away.asked < until:
        await asyncio.sleep(0)


async def test_what_is_set_is_known_at_the_next_look(config, monkeypatch):
    monkeypatch.setattr(live, "LOOK_EVERY", 0.01)
    config.set(("", ""), "concurrency", 2)
    away = Away(config)
    known = Live(away)
    async with known.listening():
        assert known.of("concurrency", "default", "demo", 4) == 2
        config.set(("default", "demo"), "concurrency", 8)
        await asked(away, 2)
        assert known.of("concurrency", "default", "demo", 4) == 8
        config.unset(("default", "demo"), "concurrency")
        config.unset(("", ""), "concurrency")
        await asked(away, 2)
        assert known.of("concurrency", "default", "demo", 4) == 4
        before = asyncio.all_tasks()
    assert len(before - asyncio.all_tasks()) == 1


async def test_while_the_database_is_away_what_was_known_stays_and_it_is_said_once(config, monkeypatch, caplog):
    monkeypatch.setattr(live, "LOOK_EVERY", 0.01)
    config.set(("", ""), "concurrency", 2)
    away = Away(config)
    known = Live(away)
    with caplog.at_level(logging.WARNING):
        async with known.listening():
            away.away = True
            await asked(away, 4)
            assert known.of("concurrency", "default", "demo", 4) == 2
            assert [record.getMessage() for record in caplog.records] == ["COL-0621: the database does not answer"]
            away.away = False
            config.set(("", ""), "concurrency", 3)
            await asked(away, 2)
            assert known.of("concurrency", "default", "demo", 4) == 3


async def test_without_a_database_from_the_beginning_what_holds_otherwise_is_in_force(config):
    away = Away(config)
    away.away = True
    async with Live(away).listening():
        assert Live(away).of("schedules", "default", "demo", True) is True
