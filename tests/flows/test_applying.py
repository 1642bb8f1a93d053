"""What is registered, as Prefect shows it: deployments, schedules, and switches that agree from both sides."""

import asyncio
from uuid import uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Unreachable
from collectors.models import Collection
from collectors.scheduling import micros
from flows.applying import apply

NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "Asia/Shanghai", "mode": "incremental"}
RARELY = {"slug": "rarely", "rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=0;BYSECOND=0", "active": False}
SOURCE = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "env:KEY"}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


@pytest.fixture
def name():
    return f"tests-{uuid4().hex[:8]}"


@pytest.fixture
async def client(prefect_server):
    with temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}):
        async with get_client() as opened:
            yield opened


@pytest.fixture
async def pool(client):
    from prefect.client.schemas.actions import WorkPoolCreate

    name = f"pool-{uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    return name


@pytest.fixture
def register(storage, name):
    def registered(*schedules, **fields):
        source = {"collector": "testrail", "source": SOURCE}
        storage.registry.register(Collection(name=name, schedule=schedules or [NIGHTLY, RARELY], **source, **fields))

    return registered


def active(storage, name):
    return {row["slug"]: row["active"] for row in storage.schedules.of("default", name)}


async def in_prefect(client, name):
    found = await client.read_deployment_by_name(f"{name}/stable")
    return found, {each.slug: each for each in found.schedules}


async def test_a_collection_is_a_deployment_with_its_schedules(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    found, schedules = await in_prefect(client, name)
    assert (found.version, found.work_pool_name, found.entrypoint) == ("1", pool, "flows.collect.collect")
    assert found.parameters == {"collection": name, "tenant": "default", "mode": "full"}
    assert schedules["nightly"].schedule == CronSchedule(cron="0 2 * * *", timezone="Asia/Shanghai")
    assert schedules["nightly"].parameters == {"schedule": "nightly", "mode": "incremental"}
    assert {slug: each.active for slug, each in schedules.items()} == {"nightly": True, "rarely": False}
    assert found.parameter_openapi_schema["properties"]["mode"]["description"]
    assert storage.registry.registration("default", name)["failed"] is None


async def test_applied_again_nothing_is_made_anew_until_the_definition_changes(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    _, first = await in_prefect(client, name)
    await apply(storage, pool)
    _, second = await in_prefect(client, name)
    assert first["nightly"].id == second["nightly"].id
    register(NIGHTLY | {"cron": "0 3 * * *"})
    await apply(storage, pool)
    found, third = await in_prefect(client, name)
    assert (found.version, {slug: each.schedule.cron for slug, each in third.items()}) == (
        "2",
        {"nightly": "0 3 * * *"},
    )


async def test_what_somebody_changes_or_deletes_in_prefect_is_put_right(storage, client, pool, register, name):
    register(NIGHTLY)
    await apply(storage, pool)
    found, schedules = await in_prefect(client, name)
    hourly = CronSchedule(cron="0 * * * *", timezone="UTC")
    await client.update_deployment_schedule(found.id, schedules["nightly"].id, schedule=hourly)
    await apply(storage, pool)
    found, schedules = await in_prefect(client, name)
    assert schedules["nightly"].schedule.cron == "0 2 * * *"
    await client.delete_deployment(found.id)
    await apply(storage, pool)
    assert (await in_prefect(client, name))[1].keys() == {"nightly"}


async def test_switched_here_it_is_switched_there(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    storage.schedules.switch("default", name, "nightly", False)
    storage.schedules.switch("default", name, "rarely", True)
    await apply(storage, pool)
    _, schedules = await in_prefect(client, name)
    assert {slug: each.active for slug, each in schedules.items()} == {"nightly": False, "rarely": True}


async def test_switched_there_it_is_switched_here(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    found, schedules = await in_prefect(client, name)
    await client.update_deployment_schedule(found.id, schedules["nightly"].id, active=False)
    await apply(storage, pool)
    (row,) = [row for row in storage.schedules.of("default", name) if row["slug"] == "nightly"]
    assert (row["active"], row["reason"]) == (False, "switched in Prefect")
    await client.update_deployment_schedule(found.id, schedules["nightly"].id, active=True)
    await apply(storage, pool)
    assert active(storage, name) == {"nightly": True, "rarely": False}


async def test_a_deployment_that_is_paused_as_a_whole_has_all_its_schedules_off(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    found, _ = await in_prefect(client, name)
    await client.pause_deployment(found.id)
    await apply(storage, pool)
    assert active(storage, name) == {"nightly": False, "rarely": False}
    storage.schedules.switch("default", name, "rarely", True)
    await apply(storage, pool)
    found, schedules = await in_prefect(client, name)
    assert not found.paused
    assert {slug: each.active for slug, each in schedules.items()} == {"nightly": False, "rarely": True}
    await apply(storage, pool)
    assert active(storage, name) == {"nightly": False, "rarely": True}


async def test_what_is_taken_back_is_gone_from_prefect(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    storage.registry.unregister("default", name)
    await apply(storage, pool)
    with pytest.raises(ObjectNotFound):
        await client.read_deployment_by_name(f"{name}/stable")
    assert storage.registry.known_to_prefect() == []


async def test_what_prefect_does_not_take_costs_the_others_nothing_and_says_why(storage, client, pool, register, name):
    register()
    bad = Collection(name=f"{name}&bad", collector="testrail", source=SOURCE)
    storage.registry.register(bad)
    await apply(storage, pool)
    assert (await in_prefect(client, name))[0]
    assert "Prefect does not take it" in storage.registry.registration("default", bad.name)["failed"]
    await apply(storage, "no-such-pool", ("default", name))
    assert "no-such-pool" in storage.registry.registration("default", name)["failed"]


async def test_a_time_is_one_run_whether_prefects_scheduler_or_ours_notices_it(storage, client, pool, register, name):
    register({"slug": "often", "interval": 60})
    await apply(storage, pool)
    found, _ = await in_prefect(client, name)
    only = DeploymentFilter(id={"any_": [found.id]})
    while not (runs := await client.read_flow_runs(deployment_filter=only)):
        await asyncio.sleep(0.2)
    theirs = {micros(each.expected_start_time) for each in runs}
    ours = storage.schedules.of("default", name)[0]["next_at"]
    later = {ours + number * 60_000_000 for number in range(len(runs) + 1)}  # one may have passed meanwhile
    assert theirs <= later
    assert {each.parameters["schedule"] for each in runs} == {"often"}
    due = min(theirs)
    assert storage.ticks.notice("default", name, "often", due) == storage.ticks.notice("default", name, "often", due)
    assert len(storage.catalog.runs("default", name)) == 1


async def test_what_was_taken_back_while_prefect_was_away_is_deleted_later(storage, client, pool, register, name):
    register()
    await apply(storage, pool)
    storage.registry.unregister("default", name)
    away = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(away), pytest.raises(Unreachable):
        await apply(storage, pool)
    storage.registry.note_failed("default", name, "Prefect was away")
    await apply(storage, pool)
    with pytest.raises(ObjectNotFound):
        await client.read_deployment_by_name(f"{name}/stable")
