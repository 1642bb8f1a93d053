"""Reading a shard into the real stores: every interruption costs at most one page, and nothing is lost or doubled."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest
from anyio import to_thread
from sqlalchemy import update

from blocks.sql.shards import Shards
from blocks.sql.tables import shard
from collectors.errors import CollectError, Fenced, Misconfigured, Refused, Rejected, Transient
from collectors.models import Page, Record
from collectors.quarantine import LONGEST_PAYLOAD
from collectors.reading import Reader, sift
from collectors.states import Desired, ShardState

ELSEWHERE = ("elsewhere:1:1", "elsewhere:2:2")


async def nothing(_: Any) -> None:
    return None


class Listed:
    """A collector of given pages; the cursor is the number of the page. `at(cursor)` runs inside each fetch."""

    def __init__(self, *pages: list[Any], at=nothing, leads_to=None) -> None:
        self.pages, self.at, self.leads_to = pages, at, leads_to
        self.fetches: Counter[Any] = Counter()

    async def fetch(self, stage: str, span: dict[str, Any], cursor: Any) -> Page:
        self.fetches[cursor] += 1
        await self.at(cursor)
        following = (cursor or 0) + 1
        if self.leads_to is not None:
            return Page(self.pages[0], self.leads_to)
        return Page(self.pages[cursor or 0], following if following < len(self.pages) else None)

    def map(self, stage: str, item: Any) -> Record:
        if item == "refused":
            raise Rejected("unwanted", "is not wanted", "r7")
        return Record(kind="case", id=item["id"], name=item["name"], content=item.get("content") or {})


def items(*ids: str) -> list[dict[str, Any]]:
    return [{"id": id, "name": f"case {id}"} for id in ids]


PAGES = [items("a1", "a2"), [*items("b1"), "refused"], [], items("d1", "d2")]
ALL = {"a1", "a2", "b1", "d1", "d2"}


@pytest.fixture
def reader(storage):
    def made(run, collector, progress=None, queue=None, renew_every: float = 60.0) -> Reader:
        return Reader(run.definition, collector, progress or storage.shards, queue or storage.queue, renew_every)

    return made


@pytest.fixture
def ids(shelves):
    """The ids of a collection's cases, in rows and documents alike."""

    def of(name: str = "c") -> set[str]:
        shelf = shelves(collection=name)
        found = set(shelf.rows())
        assert all(shelf.document(id) for id in found)
        return found

    return of


def standing(run) -> tuple:
    shard = run.shard()
    return shard["state"], shard["page"], orjson.loads(shard["cursor"]), shard["fetched"], shard["quarantined"]


# ---- to the end ------------------------------------------------------------------------------------------


async def test_a_shard_is_read_page_by_page_to_its_end(begin, reader, ids):
    run, collector = begin(), Listed(*PAGES)
    claim = run.claim()
    assert await reader(run, collector).read(claim) is ShardState.COMPLETED
    assert ids() == ALL
    assert standing(run) == ("COMPLETED", 4, None, 6, 1)
    assert collector.fetches == {None: 1, 1: 1, 2: 1, 3: 1}
    assert run.applied()["new"] == 5
    assert run.shard()["owner"] is None


async def test_a_batch_says_when_its_page_had_arrived(begin, reader, storage):
    asked, batches = [], []

    async def look(cursor):
        asked.append(time.time_ns() // 1_000)

    class Keeping:
        async def publish(self, batch):
            batches.append(batch)
            await storage.queue.publish(batch)

    run = begin()
    await reader(run, Listed(*PAGES, at=look), queue=Keeping()).read(run.claim())
    arrived = [batch.arrived_at for batch in batches]
    assert [asked[0] <= arrived[0] <= asked[1], asked[1] <= arrived[1] <= asked[2], asked[3] <= arrived[2]] == [
        True
    ] * 3


async def test_the_cursor_is_durable_before_the_next_page_is_asked_for(begin, reader):
    run, seen = begin(), []

    async def look(cursor):
        seen.append((cursor, *standing(run)))

    await reader(run, Listed(*PAGES, at=look)).read(run.claim())
    assert seen == [
        (None, "RUNNING", 0, None, 0, 0),
        (1, "RUNNING", 1, 1, 2, 0),
        (2, "RUNNING", 2, 2, 4, 1),
        (3, "RUNNING", 3, 3, 4, 1),
    ]


async def test_a_pages_records_are_in_the_stores_before_its_cursor_moves(begin, reader, ids):
    run, seen = begin(), []

    async def look(cursor):
        seen.append(ids())

    await reader(run, Listed(items("a"), items("b"), items("c"), at=look)).read(run.claim())
    assert seen == [set(), {"a"}, {"a", "b"}]


async def test_an_empty_shard_is_complete(begin, reader, ids):
    run = begin()
    assert await reader(run, Listed([])).read(run.claim()) is ShardState.COMPLETED
    assert ids() == set()
    assert standing(run) == ("COMPLETED", 1, None, 0, 0)


@pytest.mark.parametrize(("size", "parts"), [(1, 5), (2, 3), (5, 1), (100, 1)])
async def test_a_page_larger_than_a_batch_is_split(begin, reader, ids, storage, size, parts):
    run, published = begin(batch_size=size), []

    class Listening:
        async def publish(self, batch):
            published.append(batch)
            await storage.queue.publish(batch)

    await reader(run, Listed(items(*"abcde")), queue=Listening()).read(run.claim())
    assert ids() == set("abcde")
    assert [record.id for batch in published for record in batch.records] == list("abcde")
    assert [batch.page for batch in published] == [f"0.{part}" for part in range(parts)]
    assert all(len(batch.records) <= size for batch in published)
    assert run.applied()["new"] == 5


async def test_each_page_is_observed_before_it_is_asked_for(begin, reader, shelves):
    """What changes at the source after the number was taken will get a higher one."""
    run, numbers = begin(), []

    async def observe(_):
        numbers.append(run.storage.shards.observe())

    await reader(run, Listed(items("a"), items("b"), at=observe)).read(run.claim())
    rows = shelves(collection="c").rows()
    assert rows["a"]["seen"] < numbers[0] < rows["b"]["seen"] < numbers[1]


# ---- bad records -----------------------------------------------------------------------------------------


async def test_bad_items_are_set_aside_with_their_reason_and_their_neighbours_are_applied(begin, reader, ids, storage):
    bad = ["refused", {"id": 7, "name": "n"}, {"id": "no name"}, None, {"id": "", "name": "n"}]
    page = [*items("a"), *bad, *items("z")]
    run = begin()
    assert await reader(run, Listed(page)).read(run.claim()) is ShardState.COMPLETED
    assert ids() == {"a", "z"}
    refused = sorted(storage.quarantine.records(run.run_id), key=lambda each: each["position"])
    assert [(each["page"], each["position"], each["reason"], each["record_id"]) for each in refused] == [
        (0, 1, "unwanted", "r7"),
        (0, 2, "invalid-id", "7"),
        (0, 3, "malformed", "no name"),
        (0, 4, "malformed", None),
        (0, 5, "invalid-id", None),
    ]
    assert [orjson.loads(each["payload"]) for each in refused] == bad
    assert refused[0]["message"] == "COL-0500: is not wanted"
    assert "valid string" in refused[1]["message"]
    assert "KeyError('name')" in refused[2]["message"]
    refused = {each["reason"]: each["count"] for each in storage.catalog.refusals(run.run_id)}
    assert refused == {"unwanted": 1, "invalid-id": 2, "malformed": 2}


async def test_the_refused_records_of_a_page_are_listed_in_their_order(begin, reader, storage):
    """However long they take to be written."""
    run = begin(max_errors=1_000)
    await reader(run, Listed(["refused"] * 1_000)).read(run.claim())
    assert [each["position"] for each in storage.quarantine.records(run.run_id)] == list(range(1_000))


def test_a_refused_item_is_kept_only_up_to_a_length():
    _, (refused,) = sift(Listed(), "cases", [{"id": 7, "name": "x" * 200_000}])
    assert len(refused.payload) == LONGEST_PAYLOAD


def deep() -> list:
    inner: list = []
    for _ in range(10_000):
        inner = [inner]
    return inner


def endless() -> list:
    inner: list = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "content",
    [
        {1: "key"},
        {"\ud800": 1, 1: 2},
        {"big": 2**70},
        {"half a pair": "\ud800"},
        {"endless": endless()},
        {"deep": deep()},
        {"any": object()},
    ],
    ids=[
        "keys that are no text",
        "keys that are no texts at all",
        "a number too large",
        "text that is none",
        "a circle",
        "too deep",
        "an object",
    ],
)
def test_an_item_that_cannot_even_be_written_down_costs_its_neighbours_nothing(content):
    bad = {"id": "bad", "name": "n", "content": content}
    records, (refused,) = sift(Listed(), "cases", [*items("a"), bad, *items("z")])
    assert [record.id for record in records] == ["a", "z"]
    assert refused.reason in ("malformed", "invalid-content")
    assert refused.record_id == "bad"


@pytest.mark.parametrize(("allowed", "state"), [(1, ShardState.FAILED), (2, ShardState.COMPLETED)])
async def test_more_refused_records_than_allowed_fail_the_shard(begin, reader, ids, allowed, state):
    run = begin(max_errors=allowed)
    collector = Listed([*items("a"), "refused"], ["refused", *items("b")], items("c"))
    assert await reader(run, collector).read(run.claim()) is state
    if state is ShardState.FAILED:
        assert f"COL-0510: 2 records are quarantined, more than max_errors allows ({allowed})" in run.shard()["error"]
        assert ids() == {"a", "b"}
    else:
        assert ids() == {"a", "b", "c"}


async def test_refused_records_are_counted_over_all_shards_of_the_run(begin, reader):
    run = begin(shards=2, max_errors=2)
    assert await reader(run, Listed(["refused", "refused"])).read(run.claim("s01")) is ShardState.COMPLETED
    assert await reader(run, Listed(["refused"])).read(run.claim("s02")) is ShardState.FAILED


async def test_a_share_of_the_plan_may_be_refused(storage, begin, reader):
    run = begin(max_errors="25%")
    with storage.catalog._database.write() as connection:
        connection.execute(update(shard).values(estimate=8))
    collector = Listed([*items("a"), "refused"], ["refused"], ["refused", *items("b")], items("c"))
    assert await reader(run, collector).read(run.claim()) is ShardState.FAILED
    assert "COL-0510: 3 records are quarantined, more than max_errors allows (2)" in run.shard()["error"]


# ---- failing ---------------------------------------------------------------------------------------------


def failing(error: BaseException, at: int):
    async def raises(cursor):
        if cursor == at:
            raise error

    return raises


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Transient("the source is away", "Wait."), "the source is away\nWait."),
        (KeyError("cases"), "KeyError('cases')"),
        (RecursionError("too deep"), "RecursionError('too deep')"),
    ],
)
async def test_a_collector_that_fails_fails_its_shard_with_the_reason_and_keeps_what_was_read(
    begin, reader, ids, error, said
):
    run = begin()
    assert await reader(run, Listed(*PAGES, at=failing(error, 1))).read(run.claim()) is ShardState.FAILED
    assert said in run.shard()["error"]
    assert standing(run) == ("FAILED", 1, 1, 2, 0)
    assert run.shard()["owner"] is None
    assert ids() == {"a1", "a2"}


async def test_a_shard_that_may_be_tried_again_says_so_until_its_tries_are_used_up(begin, reader):
    run = begin(shard_retry={"attempts": 3})
    failures = Listed(*PAGES, at=failing(Transient("the source is away", "Wait."), 1))
    states = [await reader(run, failures).read(run.claim()) for _ in range(3)]
    assert states == [ShardState.RETRYING, ShardState.RETRYING, ShardState.FAILED]
    assert (run.shard()["attempts"], run.shard()["failures"], run.shard()["page"]) == (3, 3, 1)
    assert failures.fetches == {None: 1, 1: 3}


async def test_pauses_are_no_failures(begin, reader):
    run = begin(shard_retry={"attempts": 2})
    claim = run.claim()
    run.storage.catalog.desire(claim.run_id, Desired.PAUSE)
    assert await reader(run, Listed(*PAGES)).read(claim) is ShardState.PAUSED
    run.storage.catalog.desire(claim.run_id, Desired.RUN)
    away = failing(Transient("the source is away", "Wait."), 1)
    assert await reader(run, Listed(*PAGES, at=away)).read(run.claim()) is ShardState.RETRYING


@pytest.mark.parametrize("error", [Misconfigured("who are you", "Say it.", code="COL-0303")])
async def test_what_only_people_can_put_right_is_not_tried_again(begin, reader, error):
    run = begin(shard_retry={"attempts": 3})
    assert await reader(run, Listed(*PAGES, at=failing(error, None))).read(run.claim()) is ShardState.FAILED


async def test_too_many_refused_records_are_not_read_again(begin, reader):
    run = begin(shard_retry={"attempts": 3}, max_errors=0)
    assert await reader(run, Listed(["refused"])).read(run.claim()) is ShardState.FAILED


async def test_a_failed_shard_is_completed_from_where_it_stood(begin, reader, ids):
    run = begin()
    await reader(run, Listed(*PAGES, at=failing(KeyError("x"), 2))).read(run.claim())
    collector = Listed(*PAGES)
    assert await reader(run, collector).read(run.claim()) is ShardState.COMPLETED
    assert collector.fetches == {2: 1, 3: 1}
    assert run.shard()["error"] is None
    assert ids() == ALL


async def test_paging_that_does_not_advance_fails_the_shard(begin, reader):
    run, collector = begin(), Listed(items("a"), leads_to=5)
    assert await reader(run, collector).read(run.claim()) is ShardState.FAILED
    assert "does not advance" in run.shard()["error"]
    assert collector.fetches == {None: 1, 5: 1}


@pytest.mark.parametrize("cycle", [(5,), (5, 6), ({"at": 1}, {"at": 2}, {"at": 3})])
async def test_paging_in_circles_fails_the_shard(begin, reader, ids, cycle):
    run = begin()

    class Circling(Listed):
        async def fetch(self, stage, span, cursor):
            number = self.fetches.total()
            self.fetches[repr(cursor)] += 1
            return Page(items(f"r{number}"), cycle[number % len(cycle)])

    collector = Circling()
    assert await reader(run, collector).read(run.claim()) is ShardState.FAILED
    assert "COL-0317" in run.shard()["error"]
    assert set(collector.fetches.values()) == {1}
    assert len(collector.fetches) == len(cycle) + 1
    assert len(ids()) == len(cycle)


async def test_a_queue_that_fails_leaves_the_cursor_where_it_was(begin, reader, ids):
    run = begin()

    class Full:
        async def publish(self, batch):
            raise Transient("the queue is full")

    assert await reader(run, Listed(*PAGES), queue=Full()).read(run.claim()) is ShardState.FAILED
    assert standing(run) == ("FAILED", 0, None, 0, 0)
    assert await reader(run, Listed(*PAGES)).read(run.claim()) is ShardState.COMPLETED
    assert ids() == ALL


# ---- side by side ----------------------------------------------------------------------------------------


async def test_who_comes_after_enough_others_waits_at_a_checkpoint_with_its_lease(begin, reader, storage, monkeypatch):
    monkeypatch.setattr("collectors.reading.LOOK_BEHIND_OTHERS", 0.01)
    run, allowed = begin(shards=2), [1]
    first = run.claim("s01")
    collector = Listed(*PAGES)
    waiting = replace(reader(run, collector, renew_every=0.01), concurrency=lambda: allowed[0])
    reading = asyncio.create_task(waiting.read(run.claim("s02")))
    while storage.catalog.shard(run.run_id, "s02")["page"] < 1:
        await asyncio.sleep(0)
    until = storage.catalog.shard(run.run_id, "s02")["lease_until"]
    while storage.catalog.shard(run.run_id, "s02")["lease_until"] == until:
        await asyncio.sleep(0)
    assert set(collector.fetches) == {None}
    storage.shards.release(first, ShardState.PAUSED)
    assert await reading is ShardState.COMPLETED


async def test_who_waits_goes_on_when_more_are_allowed_and_stops_when_it_is_to(begin, reader, storage, monkeypatch):
    monkeypatch.setattr("collectors.reading.LOOK_BEHIND_OTHERS", 0.01)
    run, allowed = begin(shards=2), [1]
    run.claim("s01")

    async def lowered(cursor):
        if cursor == 1:
            allowed[0] = 1

    async def has_read(pages):
        while storage.catalog.shard(run.run_id, "s02")["page"] < pages:
            await asyncio.sleep(0)

    collector = Listed(*PAGES, at=lowered)
    waiting = replace(reader(run, collector, renew_every=0.01), concurrency=lambda: allowed[0])
    reading = asyncio.create_task(waiting.read(run.claim("s02")))
    await has_read(1)
    assert set(collector.fetches) == {None}
    allowed[0] = 2
    await has_read(2)
    storage.catalog.desire(run.run_id, Desired.PAUSE)
    assert await reading is ShardState.PAUSED
    assert set(collector.fetches) == {None, 1}


# ---- pausing ---------------------------------------------------------------------------------------------


async def test_a_pause_takes_effect_within_one_page_and_reading_goes_on_from_there(begin, reader, ids, storage):
    run = begin()

    async def pause(cursor):
        if cursor == 1:
            storage.catalog.desire(run.run_id, Desired.PAUSE)

    first = Listed(*PAGES, at=pause)
    assert await reader(run, first).read(run.claim()) is ShardState.PAUSED
    state, page, *_ = standing(run)
    assert (state, page) in {("PAUSED", 1), ("PAUSED", 2)}
    assert set(first.fetches) == {None, 1}
    storage.catalog.desire(run.run_id, Desired.RUN)
    second = Listed(*PAGES)
    assert await reader(run, second).read(run.claim()) is ShardState.COMPLETED
    assert sum((first.fetches + second.fetches).values()) <= len(PAGES) + 1
    assert ids() == ALL


async def test_a_pause_during_the_last_page_comes_too_late(begin, reader, storage):
    run = begin()

    async def pause(cursor):
        if cursor == 1:
            storage.catalog.desire(run.run_id, Desired.PAUSE)

    assert await reader(run, Listed(items("a"), items("b"), at=pause)).read(run.claim()) is ShardState.COMPLETED


async def test_a_request_that_hangs_is_dropped_when_a_pause_is_wanted(begin, reader, storage):
    run, asked, dropped = begin(), asyncio.Event(), asyncio.Event()

    async def hang(cursor):
        if cursor == 1:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                dropped.set()

    reading = asyncio.create_task(reader(run, Listed(*PAGES, at=hang), renew_every=0.01).read(run.claim()))
    await asked.wait()
    storage.catalog.desire(run.run_id, Desired.PAUSE)
    assert await reading is ShardState.PAUSED
    assert dropped.is_set()
    assert standing(run) == ("PAUSED", 1, 1, 2, 0)


# ---- interruptions ---------------------------------------------------------------------------------------


class Interrupting:
    """Progress, queue and collector in one, all real underneath: cancels the reader at its n-th step."""

    def __init__(self, storage, collector: Listed, step: int) -> None:
        self._storage, self._collector, self._left = storage, collector, step
        self.loop, self.task = asyncio.get_running_loop(), None
        self.map = collector.map
        self.cancelled_at = None
        self.calls: list[threading.Event] = []

    def _step(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.cancelled_at = name
            self.loop.call_soon_threadsafe(self.task.cancel)

    def _around(self, name: str, *arguments: Any) -> Any:
        ended = threading.Event()
        self.calls.append(ended)
        try:
            self._step(f"before {name}")
            answer = getattr(self._storage.shards, name)(*arguments)
            self._step(f"after {name}")
            return answer
        finally:
            ended.set()

    async def settled(self) -> None:
        """Returns when no call is left in any thread; a cancelled task does not wait for the thread it started."""
        for call in self.calls:
            await to_thread.run_sync(call.wait)

    def observe(self):
        return self._around("observe")

    def checkpoint(self, *arguments):
        return self._around("checkpoint", *arguments)

    def release(self, *arguments):
        return self._around("release", *arguments)

    def renew(self, claim):
        return self._storage.shards.renew(claim)

    async def publish(self, batch):
        self._step("before publish")
        await self._storage.queue.publish(batch)
        self._step("after publish")

    async def fetch(self, *arguments):
        self._step("before fetch")
        page = await self._collector.fetch(*arguments)
        self._step("after fetch")
        return page


STEPS = 4 * 6 + 3 * 2 + 2  # four pages are observed, fetched and checkpointed; three of them are published; one release


@pytest.mark.parametrize("step", range(1, STEPS + 1))
async def test_a_reader_cancelled_at_any_step_costs_at_most_one_page_read_again(begin, reader, ids, storage, step):
    run, collector = begin(), Listed(*PAGES)
    interrupting = Interrupting(storage, collector, step)
    first = reader(run, interrupting, progress=interrupting, queue=interrupting)
    interrupting.task = asyncio.create_task(first.read(run.claim()))
    (ended,) = await asyncio.gather(interrupting.task, return_exceptions=True)
    await interrupting.settled()
    assert interrupting.cancelled_at
    assert isinstance(ended, asyncio.CancelledError) or ended is ShardState.COMPLETED
    if run.shard()["state"] != "COMPLETED":
        assert await reader(run, collector).read(run.claim()) is ShardState.COMPLETED
    assert set(collector.fetches) == {None, 1, 2, 3}
    assert sum(collector.fetches.values()) <= len(PAGES) + 1
    assert ids() == ALL
    assert standing(run) == ("COMPLETED", 4, None, 6, 1)
    assert run.applied() == {"new": 5, "changed": 0, "unchanged": 0, "deleted": 0, "superseded": 0}
    assert len(storage.quarantine.records(run.run_id)) == 1


async def test_a_cancelled_reader_leaves_its_shard_paused_and_free(begin, reader):
    run, asked = begin(), asyncio.Event()

    async def hang(cursor):
        asked.set()
        await asyncio.Event().wait()

    reading = asyncio.create_task(reader(run, Listed(*PAGES, at=hang)).read(run.claim(owner=ELSEWHERE[0])))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (run.shard()["state"], run.shard()["error"], run.shard()["owner"]) == ("PAUSED", "stopped", None)
    run.claim(owner=ELSEWHERE[1])


async def test_a_crash_after_the_last_checkpoint_needs_no_request_to_complete(begin, reader, storage, shelves):
    run = begin()
    dying = Shards(storage.shards._database, lease_seconds=0)
    claim = dying.claim(run.run_id, "s01", "me")
    batch = shelves(collection="c").load(Record(kind="case", id="a", name="n"), observation=1, run=run.run_id)
    dying.checkpoint(claim, 0, None, [batch], [], 1)
    collector = Listed(*PAGES)
    assert await reader(run, collector).read(run.claim()) is ShardState.COMPLETED
    assert not collector.fetches
    assert standing(run) == ("COMPLETED", 1, None, 1, 0)


# ---- leases ----------------------------------------------------------------------------------------------


def test_a_second_claim_is_refused_while_the_shard_is_held(begin):
    run = begin()
    run.claim(owner=ELSEWHERE[0])
    with pytest.raises(Refused, match=f"held by {ELSEWHERE[0]}"):
        run.claim(owner=ELSEWHERE[1])
    assert run.shard()["attempts"] == 1


async def test_a_completed_shard_is_not_claimed_again(begin, reader):
    run = begin()
    await reader(run, Listed([])).read(run.claim())
    with pytest.raises(Refused, match="COMPLETED"):
        run.claim()


@pytest.fixture
def expired(database) -> Shards:
    """Leases that have run out as soon as they are given."""
    return Shards(database, lease_seconds=-1.0)


@pytest.mark.parametrize("bad", [False, True], ids=["good records", "bad records"])
async def test_a_reader_whose_shard_was_taken_over_changes_nothing_more(begin, reader, storage, expired, bad):
    run, taken = begin(), {}

    async def take_over(cursor):
        if cursor == 1:
            taken["claim"] = storage.shards.claim(run.run_id, "s01", ELSEWHERE[1])
            taken["shard"] = run.shard()
            taken["applied"] = run.applied()

    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    pages = [items("a"), ["refused"] if bad else items("b"), items("c")]
    collector = Listed(*pages, at=take_over)
    with pytest.raises(Fenced):
        await reader(run, collector, progress=expired).read(claim)
    assert set(collector.fetches) == {None, 1}
    assert run.shard() == taken["shard"]
    assert run.applied() == taken["applied"] == {"new": 1, "changed": 0, "unchanged": 0, "deleted": 0, "superseded": 0}
    assert storage.quarantine.records(run.run_id) == []
    assert taken["claim"].fence > claim.fence
    assert (taken["claim"].cursor, taken["claim"].page) == (1, 1)


async def test_a_fenced_off_reader_that_hangs_in_a_request_lets_go(begin, reader, storage, expired):
    run, asked = begin(), asyncio.Event()

    async def hang(cursor):
        asked.set()
        await asyncio.Event().wait()

    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    reading = asyncio.create_task(reader(run, Listed(*PAGES, at=hang), expired, renew_every=0.01).read(claim))
    await asked.wait()
    storage.shards.claim(run.run_id, "s01", ELSEWHERE[1])
    taken = run.shard()
    with pytest.raises(Fenced):
        await reading
    assert run.shard() == taken


async def test_a_fenced_off_reader_that_fails_does_not_fail_the_shard_of_its_successor(begin, reader, storage, expired):
    run, taken = begin(), {}

    async def take_over(cursor):
        storage.shards.claim(run.run_id, "s01", ELSEWHERE[1])
        taken.update(run.shard())
        raise CollectError("the source is away")

    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    with pytest.raises(Fenced):
        await reader(run, Listed(*PAGES, at=take_over), expired).read(claim)
    assert run.shard() == taken


async def test_a_fenced_off_reader_that_is_cancelled_stays_cancelled(begin, reader, storage, expired):
    """Whoever cancelled it waits for that, and a timeout or task group around it relies on it."""
    run, asked = begin(), asyncio.Event()

    async def hang(cursor):
        asked.set()
        await asyncio.Event().wait()

    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    reading = asyncio.create_task(reader(run, Listed(*PAGES, at=hang), expired).read(claim))
    await asked.wait()
    storage.shards.claim(run.run_id, "s01", ELSEWHERE[1])
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("verb", ["checkpoint", "renew", "release"])
def test_every_write_with_an_outdated_claim_is_fenced_off(begin, storage, expired, verb):
    run = begin()
    claim = expired.claim(run.run_id, "s01", ELSEWHERE[0])
    storage.shards.claim(run.run_id, "s01", ELSEWHERE[1])
    before = run.shard()
    arguments = {"checkpoint": (0, 1, [], [], 5), "renew": (), "release": (ShardState.FAILED, "late")}[verb]
    with pytest.raises(Fenced):
        getattr(storage.shards, verb)(claim, *arguments)
    assert run.shard() == before
