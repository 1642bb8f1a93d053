"""What is asked for is carried out by a process of its own, and by another one when that is gone."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Pending, Running

from blocks.imported import Parts
from blocks.process import identity, is_here, this_process
from blocks.settings import Settings
from blocks.sql.run_rows import new_run_id
from blocks.stores import open_storage
from collectors.errors import Misconfigured, Unreachable
from collectors.models import Collection
from collectors.states import RunState

ME = this_process()
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def storage(collect):
    with open_storage(Settings(collect.home, None)) as opened:
        yield opened


@pytest.fixture
def ask(storage):
    """Asks for an import of so many cases; answers its run's id."""

    def asked(count, collection="imports"):
        run_id = new_run_id()
        parts = Parts(storage.spool, run_id)
        for number in range(count):
            parts.add(number + 1, b'{"kind":"case","id":"%d","name":"case %d"}' % (number, number))
        parts.end()
        definition = Collection(name=collection, collector="import", source={}, strategy={"concurrency": 1})
        return storage.requests.accept(definition, run_id, definition, sent=True).run_id

    return asked


@pytest.fixture
def carrier(collect):
    """Starts the process; its stdin ends it."""
    started = []

    def start():
        command = [sys.executable, "-m", "deployments.carrying", "4"]
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=collect.environment, text=True, cwd=collect.home.parent, **pipes))
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
            each.communicate()


def state(storage, run_id):
    return storage.catalog.run(run_id)["state"]


def fetched(storage, run_id):
    return sum(each["fetched"] for each in storage.catalog.shards(run_id))


def test_a_run_whose_carrier_is_killed_is_brought_to_its_end_by_the_next(storage, ask, carrier, until):
    run_id = ask(12_000)
    first = carrier()
    until(lambda: 0 < fetched(storage, run_id) < 12_000)
    first.kill()
    first.communicate()
    assert state(storage, run_id) == RunState.RUNNING
    later = ask(1)
    carrier()
    until(lambda: state(storage, later) == RunState.COMPLETED, 90)
    assert state(storage, run_id) == RunState.COMPLETED
    assert storage.rows.count("default", "imports")["case"] == 12_000
    assert storage.catalog.applied(run_id)["new"] == 12_000
    assert storage.catalog.run(run_id)["ended_at"] <= storage.catalog.run(later)["started_at"]


def test_a_carrier_that_is_told_to_end_leaves_its_runs_at_a_checkpoint(storage, ask, carrier, until):
    run_id = ask(12_000)
    process = carrier()
    until(lambda: 0 < fetched(storage, run_id) < 12_000)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert state(storage, run_id) == RunState.PAUSED
    assert storage.requests.take(ME) == run_id


def test_what_is_due_is_carried_out_by_itself(storage, carrier, until, source):
    """And a collection of which the collector was removed meanwhile fails, and costs the others nothing."""
    parameters = {"base_url": source.url, "project_id": 1, "suite_id": 1, "username": "u", "api_key": "k"}
    often = {"schedule": {"interval": 2}, "triggers": {"overlap": "queue"}, "source": parameters}
    storage.registry.register(Collection(name="gone", collector="removed", **often))
    storage.registry.register(Collection(name="often", collector="testrail", **often))
    carrier()

    def states(name):
        return {row["state"] for row in storage.catalog.runs("default", name)}

    until(lambda: RunState.COMPLETED in states("often") and RunState.FAILED in states("gone"))
    until(lambda: len(storage.catalog.runs("default", "often")) > 1)
    assert "COL-0230" in storage.catalog.runs("default", "gone")[-1]["error"]
    storage.schedules.switch("default", "often", None, False)
    storage.schedules.switch("default", "gone", None, False)


def test_a_run_that_fails_costs_the_others_nothing(storage, ask, carrier, until):
    source = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "k"}
    strategy = {"retry": {"attempts": 1}}
    bad = Collection(name="bad", collector="testrail", source=source, strategy=strategy)
    failing, good = storage.requests.accept(bad, new_run_id(), bad).run_id, ask(3)
    carrier()
    until(lambda: state(storage, failing) == RunState.FAILED and state(storage, good) == RunState.COMPLETED)
    assert "COL-0306" in storage.catalog.run(failing)["error"]
    assert storage.requests.waiting() == 0


def test_a_run_that_cannot_even_begin_has_failed_and_says_why(storage, carrier, until):
    source = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "env:NOT_SET_ANYWHERE"}
    unset = Collection(name="unset", collector="testrail", source=source)
    run_id = storage.requests.accept(unset, new_run_id(), unset).run_id
    carrier()
    until(lambda: state(storage, run_id) == RunState.FAILED)
    assert "NOT_SET_ANYWHERE" in storage.catalog.run(run_id)["error"]
    assert storage.requests.accept(unset, new_run_id(), unset)


def test_a_carrier_ends_with_its_parent(collect, until):
    """While it waits for a Prefect server, too, that does not answer."""
    environment = collect.environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    parent = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-m', 'deployments.carrying', '1'],"
    parent += " stdin=subprocess.PIPE); print(p.pid, flush=True); time.sleep(100)"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", parent], env=environment, text=True, **pipes) as process:
        carrying = int(process.stdout.readline())
        process.kill()
    until(lambda: not is_here(identity(carrying)))


# ---- handed over to a work pool --------------------------------------------------------------------------


@pytest.fixture
async def deployment(prefect_server):
    """A deployment of the flow in a pool that no worker looks at."""
    from flows.collect import collect as flow

    name = f"pool-{uuid4().hex[:8]}"
    with temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}):
        async with get_client() as client:
            flow_id = await client.create_flow(flow)
            await client.create_deployment(flow_id, name)
            yield f"collect/{name}", client


async def test_what_waits_becomes_a_flow_run_once(storage, ask, deployment):
    from flows.handing_over import hand_over

    name, client = deployment
    run_id = ask(1)
    assert [await hand_over(storage, ME, name) for _ in range(2)] == [1, 0]
    row = storage.catalog.run(run_id)
    flow_run = await client.read_flow_run(row["flow_run_id"])
    expected = {"collection": "imports", "mode": "full", "tenant": "default", "run_id": run_id}
    assert flow_run.parameters == expected
    assert (row["state"], row["owner"]) == (RunState.CREATED, None)


async def test_a_flow_run_that_ends_before_it_begins_costs_its_run_and_not_the_next(storage, ask, deployment):
    from flows.handing_over import hand_over

    name, client = deployment
    run_id, later = ask(1), ask(1)
    await hand_over(storage, ME, name)
    await client.set_flow_run_state(storage.catalog.run(run_id)["flow_run_id"], Crashed(), force=True)
    await hand_over(storage, ME, name)
    assert state(storage, run_id) == RunState.FAILED
    assert "COL-0412" in storage.catalog.run(run_id)["error"]
    await hand_over(storage, ME, name)
    assert storage.catalog.run(later)["flow_run_id"]


async def test_a_run_whose_worker_died_is_handed_over_again(storage, ask, deployment):
    from flows.handing_over import hand_over

    name, client = deployment
    run_id = ask(1)
    await hand_over(storage, ME, name)
    first = storage.catalog.run(run_id)["flow_run_id"]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker:
        storage.catalog.lead(run_id, identity(worker.pid), first)
        await client.set_flow_run_state(first, Running(), force=True)
        await hand_over(storage, ME, name)
        assert storage.catalog.run(run_id)["flow_run_id"] == first
        worker.kill()
    await hand_over(storage, ME, name)
    await hand_over(storage, ME, name)
    assert storage.catalog.run(run_id)["flow_run_id"] not in (None, first)
    assert (await client.read_flow_run(first)).state.is_crashed()


@pytest.mark.parametrize(("state", "limit"), [(Pending(), "TO_START"), (Running(), "TO_BEGIN")])
async def test_a_flow_run_whose_worker_died_before_it_began_is_started_anew(
    storage, ask, deployment, monkeypatch, state, limit
):
    from flows import reconciling
    from flows.handing_over import hand_over

    name, client = deployment
    run_id = ask(1)
    await hand_over(storage, ME, name)
    flow_run = storage.catalog.run(run_id)["flow_run_id"]
    await client.set_flow_run_state(flow_run, state, force=True)
    await reconciling.reconcile_all(storage)
    assert (await client.read_flow_run(flow_run)).state.name == state.name
    monkeypatch.setattr(reconciling, limit, timedelta(0))
    await reconciling.reconcile_all(storage)
    await hand_over(storage, ME, name)
    assert (await client.read_flow_run(flow_run)).state.name == "AwaitingRetry"
    assert storage.catalog.run(run_id)["flow_run_id"] == flow_run


async def test_a_flow_run_that_prefect_does_not_know_any_more_is_made_anew(storage, ask, deployment):
    from flows.handing_over import hand_over

    name, client = deployment
    run_id = ask(1)
    await hand_over(storage, ME, name)
    first = storage.catalog.run(run_id)["flow_run_id"]
    await client.delete_flow_run(first)
    await hand_over(storage, ME, name)
    await hand_over(storage, ME, name)
    second = storage.catalog.run(run_id)["flow_run_id"]
    assert second not in (None, first)
    assert (await client.read_flow_run(second)).parameters["run_id"] == run_id


async def test_a_schedule_makes_flow_runs(deployment, until):
    """Prefect's own scheduler works with the packages that are installed."""
    from flows.upkeep import upkeep as flow

    _, client = deployment
    schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(hours=1)), slug="x", active=True)
    flow_id = await client.create_flow(flow)
    made = await client.create_deployment(flow_id, f"scheduled-{uuid4().hex[:8]}", schedules=[schedule])
    try:
        async with asyncio.timeout(60):
            while not await client.read_flow_runs(deployment_filter=DeploymentFilter(id={"any_": [made]})):
                await asyncio.sleep(0.5)
    finally:
        await client.delete_deployment(made)


async def test_without_the_deployment_it_goes_on_waiting_and_is_said(storage, ask, deployment):
    from flows.handing_over import hand_over

    run_id = ask(1)
    with pytest.raises(Misconfigured, match="COL-0706"):
        await hand_over(storage, ME, "collect/nothing")
    storage.requests.give_back(run_id, ME)
    assert storage.requests.take(ME, to_hand_over=True) == run_id


async def test_while_prefect_is_away_it_goes_on_waiting(storage, ask, monkeypatch):
    from flows.handing_over import hand_over

    run_id = ask(1)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(Unreachable, match="COL-0707"):
        async with asyncio.timeout(30):
            await hand_over(storage, ME, "collect/any")
    storage.requests.give_back(run_id, ME)
    assert storage.requests.take(ME, to_hand_over=True) == run_id
