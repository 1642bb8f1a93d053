"""The rules alone, on stores in memory: whatever changes, dies, overlaps, comes late or twice, in the end they say
what the source says. Thousands of examples, each of a few milliseconds; its clock is part of the example.
"""

import os
from contextlib import suppress
from itertools import count
from random import Random

import anyio
import pytest

from collectors.errors import Refused
from collectors.loading import Loader
from collectors.models import Batch, Collection, Page, Record
from collectors.reading import Reader
from collectors.states import ShardState
from collectors.sweeping import Sweep, finish_tombstones, swept
from tests.properties.memory import Memory

SEEDS = int(os.environ.get("COLLECT_RULE_SEEDS", "1000"))
PAGE = 2
ALL = [("directory", {}), ("case", {"odd": 0}), ("case", {"odd": 1})]


class Died(BaseException):
    """The process ended here."""


class World:
    """A source that changes between any two of its answers, and everybody who reads it and loads what was read."""

    def __init__(self, seed: int) -> None:
        self.random, self.now, self.numbers = Random(seed), 1_000, count(1)
        self.ticks = self.random.choice(((0, 0, 1, 5), (0,)))  # in some all of it happens within a second
        self.versioned = self.random.random() < 0.5
        self.tells = self.random.random() < 0.5  # whether a single record is there
        self.records: dict[tuple[str, str], tuple[str | None, str, int]] = {}
        self.gone: list[tuple[str, str]] = []
        self.restless = True
        for _ in range(8):
            self.change("add")

    def change(self, verb: str = "") -> None:
        self.now += self.random.choice(self.ticks)
        verb = verb or self.random.choice(("add", "update", "update", "move", "delete", "restore"))
        kind = self.random.choice(("case", "case", "directory"))
        ids = sorted(id for of, id in self.records if of == kind)
        homes = [None, *sorted(id for of, id in self.records if of == "directory")]
        if verb == "add":
            self.records[kind, f"{next(self.numbers):04}"] = self.random.choice(homes), "new", self.now
        elif verb == "restore" and self.gone:
            self.records[self.gone.pop()] = None, f"again {self.now}", self.now
        elif ids and verb == "delete":
            self._delete(kind, self.random.choice(ids))
        elif ids:
            id = self.random.choice(ids)
            parent = self.records[kind, id][0]
            moved = self.random.choice(homes) if verb == "move" else parent
            self.records[kind, id] = None if moved == id else moved, f"{self.random.random()}", self.now

    def _delete(self, kind: str, id: str) -> None:
        """With all that lies in it."""
        left = [(kind, id)]
        while left:
            key = left.pop()
            if self.records.pop(key, None):
                self.gone.append(key)
                left += [each for each, (parent, *_) in self.records.items() if key == ("directory", parent)]

    def happen(self) -> None:
        """What may happen at any moment while something is done."""
        for _ in range(self.random.choice((0, 0, 1, 2)) if self.restless else 0):
            self.change()
        if self.restless and self.random.random() < 0.04:
            raise Died

    # ---- the collector -----------------------------------------------------------------------------------

    async def fetch(self, stage: str, span: dict, cursor: str | None) -> Page:
        self.happen()
        since = span.get("since")
        found = sorted(
            id
            for (kind, id), (_, _, at) in self.records.items()
            if kind == stage and id > (cursor or "") and int(id) % 2 == span.get("odd", int(id) % 2)
            and (since is None or at >= since)
        )  # fmt: skip
        items = [(stage, id, *self.records[stage, id]) for id in found[:PAGE]]
        self.happen()
        return Page(items, found[PAGE - 1] if len(found) > PAGE else None)

    def map(self, stage: str, item: tuple) -> Record:
        kind, id, parent, name, at = item
        return Record(kind=kind, id=id, parent_id=parent, name=name, source_version=at if self.versioned else 0)

    async def exist(self, kind: str, ids: list[str]) -> dict[str, bool]:
        self.happen()
        return {id: (kind, id) in self.records for id in ids} if self.tells else {}


class Platform:
    """Runs of one collection, and a queue that delivers late, twice and in any order."""

    def __init__(self, world: World) -> None:
        self.world, self.memory, self.mark = world, Memory(), None
        self.pending: list[Batch] = []
        self.numbers = count(1)
        self.definition = Collection(name="c", collector="in-test", source={})

    async def publish(self, batch: Batch) -> None:
        self.pending.append(batch)

    def deliver(self) -> None:
        """One of those that wait; whoever takes it may die at each of its steps, and it comes again then."""
        if not self.pending:
            return
        random = self.world.random
        batch = self.pending.pop(random.randrange(len(self.pending)))
        stores = Dying(self) if self.world.restless and random.random() < 0.1 else self.memory
        with suppress(Died):
            Loader(self.memory, stores, self.memory).apply(batch)
        if stores is not self.memory or (self.world.restless and random.random() < 0.1):
            self.pending.append(batch)

    async def run(self, mode: str):
        run_id, number, began, mark = f"r{next(self.numbers)}", self.memory.observe(), self.world.now, self.mark
        since = {"since": mark} if mode == "incremental" and mark is not None else {}
        for shard, (stage, span) in enumerate(ALL):
            part = span | (since if stage == "case" else {})
            while True:
                claim = self.memory.claim(run_id, f"s{shard}", stage, part)
                pages = self.memory if mode == "full" else None
                reader = Reader(self.definition, self.world, self.memory, self, 60.0, pages=pages)
                with suppress(Died):
                    assert await reader.read(claim) is ShardState.COMPLETED
                    break
                yield
            yield
        while self.memory.open_of(run_id):
            self.deliver()
            yield
        await self._close(mode, Sweep("default", "c", run_id, number, 0))
        self.mark = max(self.mark or began, began)

    async def _close(self, mode: str, sweep: Sweep) -> None:
        while True:
            with suppress(Died, Refused):
                stores = Dying(self) if self.world.restless and self.world.random.random() < 0.2 else self.memory
                finish_tombstones(sweep, self.memory, stores, self.memory)
                if mode == "full":
                    await swept(sweep, self.memory, stores, self.memory, self.world, 1.0)
                return
            if self.memory.open_of(other_than=sweep.run_id):
                return

    def live(self) -> dict[tuple[str, str], tuple]:
        rows = {key: (row.parent_id, row.name) for key, row in self.memory.rows.items() if not row.stored.deleted}
        documents = {
            key: (each.parent_id, each.name) for key, each in self.memory.documents.items() if not each.deleted
        }
        assert documents == rows
        return rows


class Dying:
    """Documents whose store is never reached."""

    def __init__(self, platform: Platform) -> None:
        self.read = platform.memory.read

    def write(self, documents: list) -> None:
        raise Died


async def _together(random: Random, *runs) -> None:
    left = list(runs)
    while left:
        steps = random.choice(left)
        try:
            await anext(steps)
        except StopAsyncIteration:
            left.remove(steps)


async def _example(seed: int) -> None:
    world = World(seed)
    platform, random = Platform(world), world.random
    await _together(random, platform.run("full"))
    for _ in range(random.randint(1, 3)):
        await _together(random, *map(platform.run, random.choice((["full", "incremental"], ["incremental"], ["full"]))))
    world.restless = False
    while platform.pending:
        platform.deliver()
    await _together(random, platform.run("incremental"))
    expected = {key: (parent, name) for key, (parent, name, _) in world.records.items()}
    assert {key: value for key, value in platform.live().items() if key in expected} == expected
    for _ in range(2):
        await _together(random, platform.run("full"))
    assert platform.live() == expected


@pytest.fixture
def without_threads(monkeypatch):
    """Nothing of the stores waits for anything, so what is called in a thread may as well be called here."""

    async def called(function, *arguments, **_):
        return function(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", called)


@pytest.mark.parametrize("part", range(2))
def test_after_the_last_full_runs_the_stores_say_what_the_source_says(without_threads, part):
    async def examples():
        for seed in range(part, SEEDS, 2):
            try:
                await _example(seed)
            except Exception as error:
                error.add_note(f"seed {seed}")
                raise

    anyio.run(examples)
