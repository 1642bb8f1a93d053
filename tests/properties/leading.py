"""Runs of one collection, led step by step without Prefect: the real collector, reader, loader and stores.

The source is in this process, and its clock is part of the example.
"""

from contextlib import suppress
from hashlib import sha256
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson

from blocks.concluding import concluded
from blocks.live import Live
from blocks.past import Past
from blocks.process import this_process
from blocks.reports import report
from blocks.stores import Storage
from blocks.surveying import planned
from blocks.workspace import Workspace
from collectors.conditional import NotModified, condition_headers, note_etag
from collectors.errors import Transient
from collectors.history import Leaf
from collectors.models import KINDS, Collection, Retention, Strategy
from collectors.outbound import Http
from collectors.paths import below, derive
from collectors.reading import Reader
from collectors.selecting import changed_at, chosen
from collectors.sources import testrail
from collectors.states import ENDED_SHARDS, OPEN_RUNS, RunState
from collectors.testing.sample import Sample, Settings
from collectors.testing.sample_calls import LISTED, parsed
from collectors.testing.sample_tree import Impossible, Tree, Unknown

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

    def __init__(
        self, storage: Storage, source: Moving, name: str, kind: type[testrail.TestRail], http: Http | None = None
    ) -> None:
        """`http`: where the source is asked over a network."""
        self.storage, self.source, self.kind, self.http = storage, source, kind, http or source
        strategy = Strategy(page_size=PAGE, shard_size=PAGE * 2, overlap=0, shrink_guard=1, concurrency=1)
        parameters = {"base_url": source.base_url, "project_id": 1, "username": "u", "api_key": "k"}
        self.definition = Collection(name=name, collector="testrail", source=parameters, strategy=strategy)

    def begin(self, mode: str, owner: str | None = None, **more: Any) -> "Leading":
        definition = self.definition.model_copy(update={"mode": mode} | more)
        owner = owner or self._somebody()
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
        storage, source = self.runs.storage, self.runs.http
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
            if shard["state"] not in ENDED_SHARDS:
                pages = storage.pages if self.definition.mode == "full" else None
                of = self.definition, collector, storage.shards, storage.queue, 60.0, row["epoch"], takes, pages
                reader = Reader(*of)
                await reader.read(storage.shards.claim(self.run_id, shard["shard_id"], self.owner))
            yield
        end = await concluded(here, True)
        storage.catalog.end(claim, end.state, end.error)


# ---- where nothing happens but as a test says --------------------------------------------------------------


class Still(Moving):
    """Answers a page with a case that is `poisoned` never; what lies `elsewhere` is there, and is not listed."""

    def __init__(self) -> None:
        super().__init__(1)
        self.restless = self.deadly = self.etags = False
        self.poisoned: set[int] = set()
        self.elsewhere: set[int] = set()
        self.after = lambda call: None

    async def get(self, path: str):
        call = parsed(path.partition("?")[2].encode())
        answer = await super().get(path)
        if self.poisoned & {item["id"] for item in answer.get("cases", ())}:
            raise Transient("away", code="COL-0314")
        self.after(call)
        return answer

    async def exists(self, path: str, gone, is_ours) -> bool | None:
        return int(path.rpartition("/")[2]) in self.elsewhere or await super().exists(path, gone, is_ours)


class Kept(Runs):
    """Runs, and what stands in the stores after them."""

    def mark(self) -> int | None:
        return self.storage.watermarks.of("default", self.definition.name).value

    def row(self, key: tuple[str, str]) -> dict:
        return self.storage.rows.of_id("default", self.definition.name, *key)

    def live(self) -> set[tuple[str, str]]:
        return set(self.stored())

    def codes(self, run_id: str) -> list[str]:
        return [each.partition(":")[0] for each in report(self.storage.catalog, run_id).notices]

    async def run(self, mode: str, planned=lambda leading: None, **more) -> str:
        """To its end; `planned` is called when its shards stand, and none is read."""
        leading, steps = self.begin(mode, **more), 0
        async for _ in leading.steps():
            if not steps:
                planned(leading)
            steps += 1
        return leading.run_id

    def ended(self, run_id: str) -> RunState:
        return RunState(self.storage.catalog.run(run_id)["state"])


async def together(random: Random, *runs: Leading) -> None:
    """Their steps in any order."""
    left = [run.steps() for run in runs]
    while left:
        steps = random.choice(left)
        try:
            await anext(steps)
        except StopAsyncIteration:
            left.remove(steps)
