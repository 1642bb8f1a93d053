"""Whatever changes between any two pages, whoever dies, and however modes overlap: in the end the stores say what the
source says.

The real collector, reader, loader and stores, on a source in this process whose clock is part of the example.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import count, pairwise
from random import Random
from types import SimpleNamespace

import anyio
import orjson
import pytest

from blocks.concluding import concluded
from blocks.live import Live
from blocks.past import Past
from blocks.process import this_process
from blocks.stores import Storage
from blocks.surveying import planned
from blocks.workspace import Workspace
from collectors.conditional import NotModified, condition_headers, note_etag
from collectors.history import Leaf
from collectors.models import KINDS, Collection, Retention, Strategy
from collectors.paths import below, derive
from collectors.reading import Reader
from collectors.selecting import changed_at, chosen
from collectors.sources import testrail
from collectors.states import OPEN_RUNS, RunState, ShardState
from collectors.testing.sample import Sample, Settings
from collectors.testing.sample_calls import LISTED, parsed
from collectors.testing.sample_tree import Impossible, Tree, Unknown

SEEDS = int(os.environ.get("COLLECT_MODEL_SEEDS", "16"))
PAGE = 3
NOBODY = count(10**7)


class Died(BaseException):
    """The process ended here."""


class Untold(testrail.TestRail):
    """Does not offer to ask whether a record is still there: only a second sweep tells."""

    exist = None


class Moving:
    """The sample source without a network: before each of its answers something may change, or the reader may die."""

    base_url = "http://source"

    def __init__(self, seed: int) -> None:
        self.random, self.now = Random(seed), 1_700_000_000
        self.ticks = self.random.choice(((0, 0, 1, 5), (0,)))  # in some all of it happens within a second
        self.sample = Sample(Settings(cases=12, directories=5, seed=seed, page_size=PAGE), lambda: 0.0)
        self.tree = self.sample.tree = Tree(12, 5, seed, clock=lambda: self.now)
        self.began: float | None = None
        self.restless, self.deadly = True, True
        self.etags, self.unmodified = self.random.random() < 0.5, 0

    async def get(self, path: str):
        if self.deadly and self.random.random() < 0.03:
            raise Died
        call = parsed(path.partition("?")[2].encode())
        self.began = self.began or float(self.now)
        sent = condition_headers().get("If-None-Match")
        body = self.sample._page(LISTED[call.method], call).body
        etag = sha256(body).hexdigest() if self.etags else None
        note_etag(etag)
        answer = orjson.loads(body)
        for _ in range(self.random.choice((0, 0, 1, 3)) if self.restless else 0):
            self.change()
        if self.deadly and self.random.random() < 0.03:
            raise Died
        if sent and sent == etag:
            self.unmodified += 1
            raise NotModified("as it was", code="COL-0325")
        return answer

    async def exists(self, path: str, gone, is_ours) -> bool | None:
        kind = "case" if "get_case/" in path else "directory"
        return int(path.rpartition("/")[2]) in self.tree.listing(kind).parents

    def change(self) -> None:
        """A case that is moved is dated anew: incremental runs see it."""
        self.now += self.random.choice(self.ticks)
        random, tree = self.random, self.tree
        kind = random.choice(("case", "case", "directory"))
        ids, homes = sorted(tree.listing(kind).parents), sorted(tree.directories.parents)
        with suppress(Impossible, Unknown, IndexError):
            match random.choice(("add", "update", "update", "move", "delete")):
                case "add":
                    tree.add(kind, random.choice(homes), f"new {self.now}")
                case "update":
                    tree.update(kind, random.choice(ids))
                case "move":
                    tree.move(kind, id := random.choice(ids), random.choice(homes))
                    if kind == "case":
                        tree.update(kind, id)
                case "delete" if kind == "case" or random.random() < 0.3:
                    tree.delete(kind, random.choice(ids))

    def expected(self) -> dict[tuple[str, str], tuple]:
        directories = list(self.tree.directories.live())
        places = derive((each.id, each.parent_id, each.name) for each in directories)
        found = {("directory", each.id): (each.content_hash, places[each.id].path) for each in directories}
        for case in self.tree.cases.live():
            found["case", case.id] = (case.content_hash, below(places[case.parent_id], case.name).path)
        return found


class Runs:
    """Runs of one collection, led by processes that may die at any answer of the source."""

    def __init__(self, storage: Storage, source: Moving, name: str, kind: type[testrail.TestRail]) -> None:
        self.storage, self.source, self.kind = storage, source, kind
        strategy = Strategy(page_size=PAGE, shard_size=PAGE * 2, overlap=0, shrink_guard=1, concurrency=1)
        parameters = {"base_url": source.base_url, "project_id": 1, "username": "u", "api_key": "k"}
        self.definition = Collection(name=name, collector="testrail", source=parameters, strategy=strategy)

    def begin(self, mode: str) -> "Leading":
        definition = self.definition.model_copy(update={"mode": mode})
        owner = self._somebody()
        return Leading(self, definition, self.storage.catalog.begin(definition, owner).run_id, owner)

    def _somebody(self) -> str:
        """A process that, were it looked for, would be gone."""
        place = this_process().partition(":")[0]
        return f"{place}:{next(NOBODY)}:0"

    def stored(self) -> dict[tuple[str, str], tuple]:
        found = {}
        for kind in ("directory", "case"):
            rows = [row for chunk in self.storage.rows.live("default", self.definition.name, kind) for row in chunk]
            documents = self.storage.documents.read("default", self.definition.name, kind, [row["id"] for row in rows])
            for row in rows:
                document = documents[row["id"]]
                assert not document.deleted
                assert (document.path, document.content_hash) == (row["path"], row["content_hash"])
                found[kind, row["id"]] = row["content_hash"], row["path"]
        return found

    def past(self) -> Past:
        return Past(self.storage, "default", self.definition.name, Retention())

    def leaves(self) -> list[Leaf]:
        return [
            Leaf(kind, row["id"], row["parent_id"], row["name"])
            for kind in KINDS
            for rows in self.storage.rows.live("default", self.definition.name, kind)
            for row in rows
        ]


class Leading:
    """One run, step by step, so that others go on between its steps."""

    def __init__(self, runs: Runs, definition: Collection, run_id: str, owner: str) -> None:
        self.runs, self.definition, self.run_id, self.owner = runs, definition, run_id, owner

    async def steps(self):
        """Ends when the run has; whoever dies meanwhile is followed by another."""
        while self.runs.storage.catalog.run(self.run_id)["state"] in OPEN_RUNS:
            try:
                async for _ in self._led():
                    yield
            except Died:
                self.owner = self.runs._somebody()
                yield

    async def _led(self):
        storage, source = self.runs.storage, self.runs.source
        collector = self.runs.kind(SimpleNamespace(project_id=1, suite_id=None), source, PAGE)
        here = Workspace(self.run_id, self.owner, self.definition, storage, collector, source, Live(storage.config))
        claim = storage.catalog.lead(self.run_id, self.owner)
        if not storage.catalog.run(self.run_id)["planned"]:
            source.began = None
            await planned(here, claim)
        yield
        row = storage.catalog.run(self.run_id)
        takes = chosen(self.definition, row["selection"]).takes(changed_at(collector))
        for shard in storage.catalog.shards(self.run_id):
            if shard["state"] != ShardState.COMPLETED:
                pages = storage.pages if self.definition.mode == "full" else None
                of = self.definition, collector, storage.shards, storage.queue, 60.0, row["epoch"], takes, pages
                reader = Reader(*of)
                await reader.read(storage.shards.claim(self.run_id, shard["shard_id"], self.owner))
            yield
        end = await concluded(here, True)
        storage.catalog.end(claim, end.state, end.error)


async def _together(random: Random, *runs: Leading) -> None:
    """Their steps in any order."""
    left = [run.steps() for run in runs]
    while left:
        steps = random.choice(left)
        try:
            await anext(steps)
        except StopAsyncIteration:
            left.remove(steps)


async def _example(storage: Storage, name: str, seed: int) -> None:
    source = Moving(seed)
    runs = Runs(storage, source, name, kind := source.random.choice((testrail.TestRail, Untold)))
    trees = []
    await _together(source.random, runs.begin("full"))
    trees.append((runs.past().now(), runs.leaves()))
    for _ in range(source.random.randint(1, 2)):
        await _together(
            source.random, *map(runs.begin, source.random.choice((["full", "incremental"], ["incremental"])))
        )
        trees.append((runs.past().now(), runs.leaves()))

    source.restless = source.deadly = False
    await _together(source.random, runs.begin("incremental"))
    expected, stored = source.expected(), runs.stored()
    assert {key: value for key, value in stored.items() if key in expected} == expected
    for _ in range(2 if kind is Untold else 1):
        await _together(source.random, runs.begin("full"))
    assert runs.stored() == expected
    states = {row["state"] for row in storage.catalog.runs("default", name)}
    assert states <= {RunState.COMPLETED, RunState.PARTIALLY_COMPLETED}
    seen = source.unmodified
    await _together(source.random, runs.begin("full"))
    assert (source.unmodified > seen) is (source.etags and bool(expected))
    assert runs.stored() == expected
    for at, leaves in trees:
        assert sorted(runs.past().leaves(at)) == sorted(leaves)
    for (before, old), (after, new) in pairwise(trees):
        found = {(each.kind, each.id) for each in runs.past().differences(before, after)}
        assert {(leaf.kind, leaf.id) for leaf in set(old) ^ set(new)} <= found


@pytest.mark.parametrize("part", range(4))
def test_after_the_last_full_run_the_stores_equal_the_source(storage: Storage, names: Iterator[str], part: int):
    _examples(storage, names, range(part, SEEDS, 4))


def test_and_so_do_the_servers_of_the_full_stack(served_storage: Storage, names: Iterator[str]):
    _examples(served_storage, names, range(0, SEEDS, 4))


def _examples(storage: Storage, names: Iterator[str], seeds: range) -> None:
    for seed in seeds:
        try:
            anyio.run(_example, storage, next(names), seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
