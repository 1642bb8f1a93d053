"""What a run concludes when it has read all, in the real stores: what it cannot find out is said, and costs no run."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from blocks.concluding import concluded
from blocks.documents.mongo import MongoDocuments
from blocks.documents.mongo_past import MongoPast
from blocks.live import Live
from blocks.settings import Settings
from blocks.sql import known_pages
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.quality import Quality
from blocks.sql.tables import known_page
from blocks.stores import open_storage
from blocks.workspace import Workspace
from collectors.errors import Transient, Unreachable
from collectors.known_pages import KnownPage
from collectors.loading import Loader
from collectors.models import Collection, Strategy
from collectors.states import RunState

pytestmark = pytest.mark.anyio
NOWHERE = "mysql+pymysql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


class Telling:
    """A collector whose source tells how many cases lie in its directories, or why it does not."""

    def __init__(self, told):
        self._told = told

    async def counts(self):
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


class Run:
    """A run that has read all it was to read; `seen` are the records it found."""

    def __init__(self, storage, new_batch, collector=None, mode="full", **strategy):
        definition = Collection(name="cases", collector="in-test", source={}, mode=mode, strategy=Strategy(**strategy))
        self.storage, self.claim = storage, storage.catalog.lead(storage.catalog.begin(definition, "me").run_id, "me")
        storage.catalog.save_plan(self.claim, [], 0.0)
        self.here = Workspace(
            self.claim.run_id, "me", definition, storage, collector or SimpleNamespace(), None, Live(storage.config)
        )
        self._new_batch = new_batch

    def saw(self, *records):
        batch = self._new_batch(*records, observation=self.storage.shards.observe(), run_id=self.claim.run_id)
        Loader(self.storage.rows, self.storage.documents, self.storage.cache).apply(batch)
        return batch

    async def ends(self, **stores):
        """Its state and what it says; `stores` that stand where the others are."""
        here = replace(self.here, storage=replace(self.storage, **stores))
        end = await concluded(here, True)
        self.storage.catalog.end(self.claim, end.state, end.error)
        return end.state, self.storage.catalog.run(self.claim.run_id)["closing"]


@pytest.fixture
def run(storage, new_batch):
    return lambda *arguments, **strategy: Run(storage, new_batch, *arguments, **strategy)


async def test_a_look_at_the_tree_that_fails_is_said_and_costs_no_run(run, new_case):
    going = run()
    going.saw(new_case("1"))
    with closing(MysqlDatabase(NOWHERE, outage=0.0)) as nowhere:
        state, said = await going.ends(quality=Quality(nowhere))
    assert (state, "COL-0440" in said, "COL-0621" in said) == (RunState.COMPLETED, True, True)


async def test_what_is_found_is_said_although_the_source_does_not_tell_its_counts(run, new_case):
    going = run(Telling(Transient("too busy", code="COL-0300")))
    going.saw(new_case("1", "nowhere"))
    state, said = await going.ends()
    assert (state, "COL-0440" in said, '"check":"orphan"' in said) == (RunState.COMPLETED, True, True)


async def test_directories_are_held_against_what_their_source_tells_of_them(run, new_directory, new_case):
    going = run(Telling({"1": 3, "2": 1}))
    going.saw(new_directory("1"), new_directory("2"), new_case("1", "1"), new_case("2", "2"))
    state, said = await going.ends()
    assert (state, '{"check":"count","count":1,"examples":["directory 1: 1 of 3"]}' in said) == (
        RunState.COMPLETED,
        True,
    )


async def test_housekeeping_that_fails_is_said_and_costs_no_run(run, new_case):
    going = run()
    going.saw(new_case("1"))
    with closing(MongoDocuments("mongodb://127.0.0.1:1/nothing")) as nowhere:
        state, said = await going.ends(past=MongoPast(nowhere))
    assert (state, "COL-0441" in said) == (RunState.COMPLETED, True)


async def test_a_tombstone_that_was_left_half_done_is_whole_after_the_next_run_of_any_mode(run, storage, new_case):
    def live_documents():
        found = storage.documents.read("default", "cases", "case", ["1", "2"])
        return {id for id, each in found.items() if not each.deleted}

    async def found(*records, **stores):
        going = run(shrink_guard=1)
        going.saw(*records)
        await going.ends(**stores)

    await found(new_case("1"), new_case("2"))
    await found(new_case("2"))
    with closing(MongoDocuments("mongodb://127.0.0.1:1/nothing")) as nowhere, pytest.raises(Unreachable):
        await found(new_case("2"), documents=nowhere)
    assert storage.rows.of_id("default", "cases", "case", "1")["deleted"]
    assert live_documents() == {"1", "2"}
    await run(mode="incremental").ends()
    assert live_documents() == {"2"}


def remembered(storage):
    with storage.pages._database.read() as connection:
        return connection.scalar(select(func.count()).select_from(known_page))


async def test_pages_that_nobody_asks_for_are_forgotten_also_when_the_sweep_is_refused(run, storage, new_case):
    first = run()
    batch = first.saw(new_case("1"), new_case("2"))
    with storage.pages._database.write() as connection:
        known_pages.remember(connection, batch, KnownPage("place", "", "", (), None, None))
    await first.ends()
    assert remembered(storage) == 1
    state, said = await run(shrink_guard=0).ends()
    assert (state, "COL-0417" in said) == (RunState.PARTIALLY_COMPLETED, True)
    assert remembered(storage) == 0


async def test_pages_are_remembered_while_none_is_looked_at(run, storage, new_case):
    first = run()
    batch = first.saw(new_case("1"))
    with storage.pages._database.write() as connection:
        known_pages.remember(connection, batch, KnownPage("place", "", "", (), None, None))
    await first.ends()
    await run(shrink_guard=0, skip_unchanged=False).ends()
    assert remembered(storage) == 1
