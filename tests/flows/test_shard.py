"""A shard is read before Prefect has made its flow run; if that one is never made, it stops at a checkpoint."""

import asyncio

import pytest

from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import Storage, open_storage
from blocks.workspace import workspace
from collectors.models import Collection, Strategy
from collectors.planning import plan
from collectors.states import ShardState
from flows.shard import begun


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path / "home"))
    with open_storage(Settings.load()) as opened:
        yield opened


def planned(storage: Storage, base_url: str) -> str:
    source = {"base_url": base_url, "project_id": 1, "suite_id": 1, "username": "u", "api_key": "k"}
    run_id = storage.catalog.begin(Collection(name="c", collector="testrail", source=source), this_process()).run_id
    claim = storage.catalog.lead(run_id, this_process())

    async def survey():
        async with workspace(run_id) as here:
            return await here.collector.survey()

    storage.catalog.save_plan(claim, plan(asyncio.run(survey()), Strategy(shard_size=1000, page_size=50)), 0.0)
    return run_id


def test_what_is_read_stops_when_its_flow_run_is_not_made_and_can_go_on(storage, sample):
    async def not_made():
        async with workspace(run_id) as here, begun(here, "s02"):
            while not storage.catalog.shard(run_id, "s02")["page"]:
                await asyncio.sleep(0)
            raise ConnectionError("Prefect is gone")

    with sample("--cases", "600", "--directories", "40", "--latency", "0.05") as source:
        run_id = planned(storage, source.url)
        with pytest.raises(ConnectionError, match="Prefect is gone"):
            asyncio.run(not_made())
        shard = storage.catalog.shard(run_id, "s02")
        assert (shard["state"], shard["lease_until"]) == (ShardState.PAUSED, 0)
        assert 0 < shard["fetched"] < 600
        assert storage.shards.claim(run_id, "s02", "another").page == shard["page"]
