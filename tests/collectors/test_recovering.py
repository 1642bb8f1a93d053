"""What a broker confirmed and lost is fetched again, counted once, and given up only after several times."""

import asyncio
import math

import pytest
from anyio import to_thread

from collectors import recovering
from collectors.errors import CollectError, Rejected, Unreachable
from collectors.loading import Loader
from collectors.models import Page, Record
from collectors.reading import Reader
from collectors.recovering import Recovery, loaded
from collectors.states import ShardState

PAGES = [[f"{letter}{number}" for number in range(1, 4)] for letter in "abc"]
ALL = {id for page in PAGES for id in page}


class Paged:
    """A collector of pages of ids; the cursor is the number of the page."""

    def __init__(self) -> None:
        self.pages, self.fetches = [list(page) for page in PAGES], 0

    async def fetch(self, stage, span, cursor):
        self.fetches += 1
        number = cursor or 0
        return Page(self.pages[number], number + 1 if number + 1 < len(self.pages) else None)

    def map(self, stage, item):
        return Record(kind="case", id=item, name=f"case {item}")


class Asked(Paged):
    """One that can be asked for given ids."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = []

    async def fetch_ids(self, stage, ids):
        self.asked += ids
        return Page([id for page in self.pages for id in page if id in ids], None)


class Forgetful:
    """A queue that confirms everything, and loses the batches whose numbers it is given."""

    def __init__(self, storage, *lost):
        self._rows, self._loader = storage.rows, Loader(storage.rows, storage.documents, storage.cache)
        self.half_way = False  # whether rows are written of what is lost
        self._lost, self.published, self.holds = lost, 0, 0
        self.in_time, self.held_back = math.inf, []  # how many are delivered before `late` is told

    def late(self):
        """What was held back is delivered now."""
        for batch in self.held_back:
            self._loader.apply(batch)

    async def publish(self, batch):
        self.published += 1
        if self.published > self.in_time:
            self.held_back.append(batch)
            return
        if self.published not in self._lost:
            await to_thread.run_sync(self._loader.apply, batch)
        elif self.half_way:
            await to_thread.run_sync(self._rows.apply, batch)

    async def waiting(self):
        if self.holds is None:
            raise Unreachable("the broker is away", code="COL-0670")
        return self.holds


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(recovering, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(recovering, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(recovering, "LOOK_FOR_LOST", 0.01)


@pytest.fixture
def lose(storage, begin):
    """Reads a run whose queue loses some batches; answers the run, its collector, and what recovers it."""

    async def lost(*numbers, collector=None, half_way=False):
        run, collector, queue = begin(), collector or Paged(), Forgetful(storage, *numbers)
        queue.half_way = half_way
        reader = Reader(run.definition, collector, storage.shards, queue, 60.0)
        assert await reader.read(run.claim()) is ShardState.COMPLETED
        return run, collector, queue, Recovery(run.run, storage.ledger, collector, queue)

    return lost


async def recovered(recovery) -> None:
    """Until everything is loaded; raises what the watch gives up with."""
    watching = asyncio.create_task(recovery.watch())
    waiting = asyncio.create_task(loaded(recovery.ledger, recovery.claim.run_id))
    await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for each in (watching, waiting):
        each.cancel()
    await asyncio.wait({watching, waiting})
    if not watching.cancelled():
        watching.result()


def held(storage) -> set[str]:
    rows = {row["id"] for chunk in storage.rows.live("default", "c", "case") for row in chunk}
    assert storage.documents.read("default", "c", "case", list(rows)).keys() == rows
    return rows


def stages(storage, run) -> list[str]:
    return sorted(entry["stage"] for entry in storage.ledger.entries(run.run_id))


async def test_nothing_is_fetched_again_when_nothing_was_lost(storage, lose):
    _, collector, queue, recovery = await lose()
    await recovered(recovery)
    assert (collector.fetches, queue.published) == (3, 3)


@pytest.mark.parametrize("numbers", [(1,), (2, 3), (1, 2, 3)])
async def test_lost_batches_are_read_again_and_counted_once(storage, lose, numbers):
    run, _, _, recovery = await lose(*numbers)
    assert held(storage) != ALL
    await recovered(recovery)
    assert held(storage) == ALL
    assert run.applied() == {"new": 9, "changed": 0, "unchanged": 0, "deleted": 0, "superseded": 0}
    assert stages(storage, run) == ["done"] * 3 + ["refetched"] * len(numbers)


async def test_what_was_lost_half_way_is_written_whole_and_counted_once(storage, lose):
    run, _, _, recovery = await lose(2, half_way=True)
    await recovered(recovery)
    assert held(storage) == ALL
    assert run.applied()["new"] == 9


async def test_what_was_lost_half_way_is_written_whole_also_by_a_loader_that_is_late(storage, lose):
    run, _, queue, recovery = await lose(2, half_way=True)
    queue.in_time = queue.published
    watching = asyncio.create_task(recovery.watch())
    while not any(entry["stage"] == "refetched" for entry in storage.ledger.entries(run.run_id)):
        await asyncio.sleep(0.01)
    watching.cancel()
    queue.late()
    assert held(storage) == ALL


async def test_reading_again_ends_where_everything_was_found(storage, lose):
    _, collector, _, recovery = await lose(1)
    await recovered(recovery)
    assert collector.fetches == 4


async def test_a_collector_that_can_is_asked_for_the_missing_ids_only(storage, lose):
    _, collector, _, recovery = await lose(2, collector=Asked())
    await recovered(recovery)
    assert (collector.asked, collector.fetches) == (PAGES[1], 3)
    assert held(storage) == ALL


async def test_what_moved_to_another_page_meanwhile_is_found_there(storage, lose):
    _, collector, _, recovery = await lose(2)
    collector.pages = [["a1", "a2"], ["a3", "b1"], ["b2", "c1"], ["b3", "c2", "c3"]]
    await recovered(recovery)
    assert held(storage) == ALL


async def test_what_is_gone_from_the_source_meanwhile_holds_nothing_up(storage, lose):
    _, collector, _, recovery = await lose(2)
    collector.pages[1].remove("b2")
    await recovered(recovery)
    assert held(storage) == ALL - {"b2"}


async def test_what_is_refused_at_the_second_look_is_quarantined_and_counted(storage, lose):
    run, collector, _, recovery = await lose(2)
    good = collector.map

    def map(stage, item):
        if item["id"] == "b2":
            raise Rejected("broken", "it has broken meanwhile")
        return good(stage, item["id"])

    collector.pages = [[{"id": id} for id in page] for page in PAGES]
    collector.map = map
    await recovered(recovery)
    assert held(storage) == ALL - {"b2"}
    (refused,) = storage.quarantine.records(run.run_id)
    assert (refused["record_id"], refused["page"], refused["reason"]) == ("b2", 1, "broken")
    assert run.shard()["quarantined"] == 1


async def test_a_batch_that_comes_late_after_all_changes_nothing(storage, lose):
    run, _, _, recovery = await lose(2)
    (lost,) = storage.ledger.open_batches(run.run_id)
    await recovered(recovery)
    records = tuple(Record(kind="case", id=id, name="late and old") for id in PAGES[1])
    late = type(lost.batch)(**{**vars(lost.batch), "records": records})
    Loader(storage.rows, storage.documents, storage.cache).apply(late)
    assert {row["name"] for chunk in storage.rows.live("default", "c", "case") for row in chunk} == {
        f"case {id}" for id in ALL
    }
    assert run.applied()["new"] == 9


@pytest.mark.parametrize("holds", [1, None], ids=["held by the queue", "the queue is away"])
async def test_what_may_still_come_is_not_taken_for_lost(storage, lose, holds):
    _, collector, queue, recovery = await lose(2)
    queue.holds = holds
    waiting = asyncio.create_task(recovered(recovery))
    await asyncio.wait({waiting}, timeout=0.5)
    assert not waiting.done() and collector.fetches == 3
    queue.holds = 0
    await waiting
    assert held(storage) == ALL


async def test_a_queue_that_loses_everything_is_given_up(storage, lose):
    run, _, _, recovery = await lose(*range(1, 100))
    with pytest.raises(CollectError, match="COL-0512"):
        await recovered(recovery)
    assert "published" in stages(storage, run)


async def test_the_watch_goes_on_when_everything_is_loaded(storage, lose):
    run, _, _, recovery = await lose(2)
    watching = asyncio.create_task(recovery.watch())
    while "refetched" not in stages(storage, run):
        await asyncio.sleep(0.01)
    assert held(storage) == ALL
    assert not watching.done()
    watching.cancel()
    await asyncio.wait({watching})
