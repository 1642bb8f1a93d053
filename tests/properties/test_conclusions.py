"""What a run may conclude, and must not, where something is missing: one thing at a time, on real stores.

Led as in leading.py; nothing changes and nobody dies here but as a test says.
"""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

import pytest

from blocks.process import this_process
from blocks.reports import as_json, report, status_of
from collectors.errors import Refused
from collectors.models import Keys, Page, Retry, Scope, Stage
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.scheduling import Triggers
from collectors.sources import testrail
from collectors.states import RunState, ShardState
from collectors.testing.sample_calls import LISTED, parsed
from collectors.testing.sample_tree import Tree
from tests.properties.leading import Kept, Leading, Still, Untold, together

FIRST, LAST = ("case", "1"), ("case", "12")  # in the first shard of cases, and in the last


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
def runs(storage, names) -> Kept:
    return Kept(storage, Still(), next(names), testrail.TestRail)


def breaks(source: Still, *ids: int):
    """From when its shards stand, no page that holds one of these cases is answered."""

    def planned(_: Leading) -> None:
        source.poisoned = set(ids)

    return planned


def cancelled(leading: Leading) -> None:
    last = leading.runs.storage.catalog.shards(leading.run_id)[-1]["shard_id"]
    leading.runs.storage.control.cancel(leading.run_id, last)


# ---- shards that were not read -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [testrail.TestRail, Untold])
@pytest.mark.parametrize("left", [ShardState.FAILED, ShardState.CANCELLED])
async def test_of_a_sweep_that_did_not_read_all_nothing_is_gone_and_the_watermark_stays(runs, kind, left):
    runs.kind, source = kind, runs.source
    await runs.run("full")
    mark, before = runs.mark(), runs.stored()
    source.now += 100
    source.tree.delete("case", 2)
    for _ in range(2):
        run = await runs.run("full", breaks(source, 12) if left is ShardState.FAILED else cancelled)
        assert [each["state"] for each in runs.storage.catalog.shards(run)] == ["COMPLETED", "COMPLETED", left]
        assert runs.ended(run) is RunState.PARTIALLY_COMPLETED
        assert (runs.stored(), runs.mark()) == (before, mark)
        assert runs.row(("case", "2"))["missing"] is None
        source.poisoned = set()
    for _ in range(1 if kind is testrail.TestRail else 2):
        await runs.run("full")
    assert runs.stored() == source.expected()
    assert runs.mark() == source.now * 1_000_000


async def test_a_shard_that_fails_for_ever_costs_no_change_and_no_record(runs):
    source = runs.source
    await runs.run("full")
    mark = runs.mark()
    for mode in ("incremental", "full", "incremental", "full"):
        source.now += 100
        source.tree.update("case", 1)
        source.tree.update("case", 11)
        source.tree.delete("case", source.tree.cases.ids[2])
        source.tree.add("case", 1, "new")
        run = await runs.run(mode, breaks(source, 12, 11))
        source.poisoned = set()
        assert runs.ended(run) in (RunState.PARTIALLY_COMPLETED, RunState.FAILED)
        assert runs.mark() == mark
        assert source.expected().keys() - runs.live() <= {("case", str(id)) for id in range(13, 17)}
    await runs.run("incremental")
    assert runs.stored().items() >= source.expected().items()
    assert runs.mark() == source.now * 1_000_000
    await runs.run("full")
    assert runs.stored() == source.expected()


class Backwards(Still):
    """Lists cases in no order that is known: nobody can tell what was passed over when one goes."""

    async def get(self, path: str):
        call = parsed(path.partition("?")[2].encode())
        if call.method != "get_cases" or "updated_after" in call.parameters:
            return await super().get(path)
        start, limit = (int(call.parameters[name]) for name in ("offset", "limit"))
        ids = [*self.tree.cases.ids[1::2], *self.tree.cases.ids[::2]]
        more = start + limit < len(ids)
        page = [self.tree.cases.get(id) for id in ids[start : start + limit]]
        following = f"/api/v2/get_cases/1&limit={limit}&offset={start + limit}" if more else None
        self.began = self.began or float(self.now)
        self.after(call)
        return {"offset": start, "limit": limit, "size": len(page), "_links": {"next": following}, "cases": page}


async def test_a_list_in_no_order_is_read_whole_by_two_shards(storage, names):
    runs = Kept(storage, Backwards(), next(names), testrail.TestRail)
    run = await runs.run("full")
    assert len(storage.catalog.shards(run)) == 3
    assert runs.stored() == runs.source.expected()


async def test_of_a_list_that_moved_nothing_is_concluded_and_the_run_says_so(storage, names):
    runs = Kept(storage, Backwards(), next(names), Untold)
    source, strategy = runs.source, runs.definition.strategy.model_copy(update={"shard_size": 100})
    runs.definition = runs.definition.model_copy(update={"strategy": strategy})
    await runs.run("full")
    assert runs.stored() == source.expected()
    mark, before = runs.mark(), runs.stored()
    source.now += 100

    def moving(leading: Leading) -> None:
        """What stood last in the first page goes when that was answered."""
        source.after = lambda call: call.method == "get_cases" and gone()

    def gone() -> None:
        source.after = lambda call: None
        source.tree.delete("case", 6)

    run = await runs.run("full", moving)
    assert any(each["moved"] for each in storage.catalog.shards(run))
    assert (runs.ended(run), runs.codes(run)) == (RunState.PARTIALLY_COMPLETED, ["COL-0414"])
    assert (runs.stored(), runs.mark(), runs.row(("case", "6"))["missing"]) == (before, mark, None)


# ---- what is said ------------------------------------------------------------------------------------------


async def test_what_was_not_seen_and_may_be_there_is_told(runs):
    runs.kind, source = Untold, runs.source
    await runs.run("full")
    source.tree.delete("case", 1)
    run = await runs.run("full")
    assert (runs.codes(run), FIRST in runs.live()) == (["COL-0422"], True)
    again = await runs.run("full")
    assert (runs.codes(again), FIRST in runs.live()) == ([], False)


async def test_what_is_not_listed_and_there_all_the_same_is_told(runs):
    source = runs.source
    await runs.run("full")
    source.tree.delete("case", 1)
    source.elsewhere = {1}
    for _ in range(2):
        run = await runs.run("full")
        assert (runs.codes(run), FIRST in runs.live()) == (["COL-0426"], True)


async def test_what_is_wrong_with_the_tree_is_told_by_its_run(runs):
    source = runs.source
    source.tree.directories.drop(gone := max(source.tree.directories.ids))
    orphans = {f"case {id}" for id, home in source.tree.cases.parents.items() if home == gone}
    run = await runs.run("full")
    found = as_json(report(runs.storage.catalog, run))["quality"]
    (told,) = (each for each in found if each["check"] == "orphan")
    assert told["count"] == len(orphans) >= len(told["examples"]) > 0
    assert set(told["examples"]) <= orphans
    row = runs.storage.catalog.run(run)
    assert status_of(runs.storage.catalog, row, report(runs.storage.catalog, run))["quality"] == found


async def test_a_source_that_was_restored_is_told_and_wins_in_a_new_epoch(runs):
    source = runs.source
    backup = copy.deepcopy(source.tree)
    backup._clock = source.tree._clock
    source.now += 100
    source.tree.update("case", 1)
    await runs.run("full")
    before = runs.stored()
    source.now += 100
    source.tree = source.sample.tree = backup
    run = await runs.run("full")
    assert (runs.codes(run), runs.stored()) == (["COL-0421"], before)
    assert runs.storage.catalog.applied(run)["regressed"] == 1
    runs.storage.watermarks.bump("default", runs.definition.name)
    again = await runs.run("full")
    assert (runs.codes(again), runs.stored()) == ([], source.expected())
    assert runs.stored() != before


# ---- what moves while it is read ---------------------------------------------------------------------------


class ByDirectory(testrail.TestRail):
    """A shard a directory: a case that moves leaves one shard for another."""

    async def survey(self):
        directories = Stage(name="directories", extent=await self._extent("directories"))
        keys = Keys(weights=tuple((id, 100) for id in self._http.tree.directories.ids))
        return [directories, Stage(name="cases", extent=keys)]

    async def pin(self, stage, spans):
        return spans

    async def fetch(self, stage, span, cursor):
        if stage == "directories":
            return await super().fetch(stage, span, cursor)
        tree = self._http.tree
        return Page([tree.cases.get(id) for id, home in tree.cases.parents.items() if home in span["keys"]], None)


class SilentByDirectory(ByDirectory):
    exist = None


@pytest.mark.parametrize("kind", [ByDirectory, SilentByDirectory])
@pytest.mark.parametrize("forward", [True, False], ids=["into what is read later", "into what was read"])
async def test_a_case_that_moves_between_two_shards_is_there_afterwards(runs, kind, forward):
    runs.kind, source = kind, runs.source
    await runs.run("full")
    homes = set(source.tree.cases.parents.values())
    home, away = (min(homes), max(homes)) if forward else (max(homes), min(homes))
    moving = next(id for id, parent in source.tree.cases.parents.items() if parent == home)
    leading, left = runs.begin("full"), ["now"]
    async for _ in leading.steps():
        shards = {each["label"]: each["state"] for each in runs.storage.catalog.shards(leading.run_id)}
        if left and shards[f"cases {min(homes)}"] == ShardState.COMPLETED:
            assert shards[f"cases {max(homes)}"] == ShardState.PENDING
            source.tree.move("case", moving, away)
            left.pop()
    where = runs.row(("case", str(moving)))
    assert (where["deleted"], where["parent_id"]) == (False, str(away if forward else home))
    said = [] if forward else ["COL-0426" if kind is ByDirectory else "COL-0422"]
    assert runs.codes(leading.run_id) == said
    await runs.run("full")
    assert runs.stored() == source.expected()


# ---- runs side by side, and clocks -------------------------------------------------------------------------


def ids(scope: str) -> dict:
    return {"scope": Scope(ids=scope)}


async def test_a_second_range_run_is_refused_while_the_first_goes_on(runs):
    await runs.run("full")
    first = runs.begin("range", this_process(), **ids("1..8"))
    with pytest.raises(Refused) as error:
        runs.begin("range", this_process(), **ids("5..12"))
    assert error.value.code == "COL-0402"
    runs.source.tree.update("case", 6)
    async for _ in first.steps():
        pass
    await runs.run("range", **ids("5..12"))
    assert runs.stored() == runs.source.expected()


async def test_range_runs_that_may_overlap_leave_what_the_source_says(runs):
    await runs.run("full")
    mark, source = runs.mark(), runs.source
    runs.definition = runs.definition.model_copy(update={"triggers": Triggers(overlap="allow")})
    left = [1, 6, 6, 7, 12]

    def change(call) -> None:
        if call.method == "get_cases" and left:
            source.now += 1
            source.tree.update("case", left.pop())

    source.after = change
    await together(source.random, runs.begin("range", **ids("1..8")), runs.begin("range", **ids("5..12")))
    source.after = lambda call: None
    assert not left
    assert runs.live() == source.expected().keys()
    await together(source.random, *(runs.begin("range", **ids(each)) for each in ("1..8", "5..12")))
    assert (runs.stored(), runs.mark()) == (source.expected(), mark)


@contextmanager
def served(source: Still) -> Iterator[str]:
    """The source over a network, with its own clock; each answer takes it a second."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            call = parsed(self.path.partition("?")[2].encode())
            body = source.sample._page(LISTED[call.method], call).body
            self.send_response_only(200)
            self.send_header("Date", formatdate(source.now, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            source.asked.append(source.now)
            source.now += 1

        def log_message(self, *_):
            pass

    source.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("hours", [2, -2])
async def test_the_watermark_is_the_sources_time_whatever_ours_is(storage, names, hours):
    source = Still()
    source.now = int(time()) + hours * 3600
    source.tree = source.sample.tree = Tree(12, 5, 1, clock=lambda: source.now)
    with served(source) as url:
        async with Http(url, Retry(attempts=1), Pace()) as http:
            runs = Kept(storage, source, next(names), testrail.TestRail, http)
            for mode in ("full", "incremental", "incremental"):
                source.asked.clear()
                source.tree.update("case", 3)
                await runs.run(mode, lambda _: source.tree.update("case", 1))
                assert runs.mark() == source.asked[0] * 1_000_000
                source.tree.add("case", 1, "new")
            await runs.run("incremental")
            assert runs.stored() == source.expected()
