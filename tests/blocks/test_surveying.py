"""What a run is planned to read: from its watermark, unless that cannot be trusted, or was moved by the run itself."""

from types import SimpleNamespace

import pytest

from blocks.live import Live
from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import open_storage
from blocks.surveying import planned
from blocks.workspace import Workspace
from collectors.models import Collection, Keys, Stage
from collectors.selecting import Selection
from collectors.states import RunState

SOURCE = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "k"}
CASES = Collection(name="cases", collector="testrail", source=SOURCE, mode="incremental")
NOON = 1_700_000_000


class Dated:
    """A source that can be asked for what changed."""

    async def survey(self):
        return [Stage(name="cases", extent=Keys(weights=(("all", 9),)))]

    async def select(self, wanted):
        return [Stage(name="cases", extent=Keys(weights=(("some", 1),)))]

    def changed_at(self, record):
        return None


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


@pytest.fixture
def plan(storage):
    """Plans a run while the source's clock says `at`; answers the run, and what it is about."""

    async def done(definition=CASES, at=NOON, run_id=None):
        run_id = run_id or storage.catalog.begin(definition, this_process()).run_id
        claim = storage.catalog.lead(run_id, this_process())
        source, live = SimpleNamespace(began=float(at)), Live(storage.config)
        await planned(Workspace(run_id, this_process(), definition, storage, Dated(), source, live), claim)
        storage.catalog.end(claim, RunState.COMPLETED)
        return run_id, Selection.model_validate_json(storage.catalog.run(run_id)["selection"])

    return done


def read(storage, run_id):
    return storage.catalog.shards(run_id)[0]["label"]


@pytest.mark.parametrize("mode", ["incremental", "full"])
async def test_a_watermark_its_source_has_not_reached_is_not_read_from(storage, plan, mode):
    storage.watermarks.set("default", "cases", (NOON + 301) * 1_000_000)
    run_id, selection = await plan(CASES.model_copy(update={"mode": mode}))
    assert (selection.since, read(storage, run_id)) == (None, "cases all")
    assert selection.note.startswith("COL-0438")


async def test_one_that_is_ahead_by_no_more_than_the_overlap_is(storage, plan):
    storage.watermarks.set("default", "cases", (NOON + 299) * 1_000_000)
    run_id, selection = await plan()
    assert (selection.since, selection.note, read(storage, run_id)) == (NOON - 1, None, "cases some")


async def test_that_of_another_source_is_none(storage, plan):
    elsewhere = CASES.model_copy(update={"source": SOURCE | {"project_id": 2}})
    moved_by, _ = await plan(elsewhere)
    storage.watermarks.advance("default", "cases", NOON * 1_000_000, moved_by)
    assert (await plan())[1].note.startswith("COL-0420")
    assert (await plan(elsewhere))[1].since == NOON - 300


async def test_a_run_that_is_done_over_reads_again_what_it_read(storage, plan):
    storage.watermarks.set("default", "cases", NOON * 1_000_000)
    run_id, before = await plan(at=NOON + 1_000)
    storage.watermarks.advance("default", "cases", (NOON + 1_000) * 1_000_000, run_id)
    storage.control.retry(run_id, "all")
    assert (await plan(at=NOON + 2_000, run_id=run_id))[1] == before
