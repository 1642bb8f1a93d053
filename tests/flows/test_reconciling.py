"""Placed shards beside the flow runs that are to read them: those that never begin, are stuck, or are gone."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Pending

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection, ShardPlan
from collectors.states import ShardState
from flows import reconciling
from flows.reconciling import MOST_STARTS, Slot, reconcile
from flows.shard import shard as flow

ELSEWHERE = "elsewhere:1:1"
SOURCE = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "k"}


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


@pytest.fixture
async def placed(storage, prefect_server):
    """A shard of a run, and its flow run, of a pool that no worker looks at."""
    run_id = storage.catalog.begin(Collection(name="c", collector="testrail", source=SOURCE), ELSEWHERE).run_id
    plan = ShardPlan(shard_id="s1", stage="cases", label="s1", span={}, estimate=10)
    storage.catalog.save_plan(storage.catalog.lead(run_id, ELSEWHERE), [plan], 0.0)
    with temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}):
        async with get_client() as client:
            deployment = await client.create_deployment(await client.create_flow(flow), f"nobody-{uuid4().hex[:8]}")
            flow_run = await client.create_flow_run_from_deployment(deployment)
            storage.flow_runs.note(run_id, "s1", str(flow_run.id))
            yield client, run_id, flow_run.id


async def started(storage, placed, slots, state):
    """Whether Prefect is to start it again, which has it in this state."""
    client, run_id, id = placed
    await client.set_flow_run_state(id, state, force=True)
    await reconcile(storage, run_id, slots)
    return (await client.read_flow_run(id)).state.name == "AwaitingRetry"


def read_a_page(storage, run_id):
    claim = storage.shards.claim(run_id, "s1", ELSEWHERE)
    storage.shards.checkpoint(claim, claim.page, {"after": 1}, [], [], 1)
    storage.shards.release(claim, ShardState.PAUSED)


async def test_a_shard_that_is_started_five_times_and_reads_nothing_has_failed(storage, placed):
    _, run_id, id = placed
    slots = {"s1": Slot()}
    for _ in range(MOST_STARTS):
        assert await started(storage, placed, slots, Crashed(message="no collector"))
    assert not await started(storage, placed, slots, Crashed(message="no collector"))
    row = storage.catalog.shard(run_id, "s1")
    assert row["state"] == ShardState.FAILED
    assert row["error"].startswith(f"COL-0433: its flow run was started {MOST_STARTS} times")
    assert "no collector" in row["error"]
    assert str(id) in row["error"]


async def test_a_page_that_is_read_begins_the_count_anew(storage, placed):
    _, run_id, _ = placed
    slots = {"s1": Slot()}
    for _ in range(MOST_STARTS):
        assert await started(storage, placed, slots, Crashed())
    read_a_page(storage, run_id)
    assert await started(storage, placed, slots, Crashed())
    assert storage.catalog.shard(run_id, "s1")["state"] == ShardState.PAUSED


async def test_one_that_hangs_before_it_begins_is_started_anew_after_a_while(storage, placed, monkeypatch):
    slots = {"s1": Slot()}
    assert not await started(storage, placed, slots, Pending())
    monkeypatch.setattr(reconciling, "TO_START", timedelta(0))
    assert not await started(storage, placed, {}, Pending())
    assert await started(storage, placed, slots, Pending())


async def test_one_that_is_deleted_in_prefect_is_placed_anew(storage, placed):
    client, run_id, id = placed
    await client.delete_flow_run(id)
    await reconcile(storage, run_id)
    assert storage.catalog.shard(run_id, "s1")["flow_run_id"] == str(id)
    await reconcile(storage, run_id, {"s1": Slot()})
    assert storage.catalog.shard(run_id, "s1")["flow_run_id"] is None
