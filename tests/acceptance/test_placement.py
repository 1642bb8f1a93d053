"""Shards that are read by workers of a work pool; Prefect's buttons, as its page sends them, and its commands.

Those marked as faults take half a minute each: `make faults` runs them. The walk of docs/operate.md is typed always.
"""

import json
from pathlib import Path

import pytest
import yaml

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection
from tests.pools import running_pool

# Two shards of cases of twenty pages each; half a second a page.
SLOW = ("--cases", "400", "--directories", "3", "--page-size", "10", "--latency", "0.5")
STRATEGY = "strategy: {shard_size: 200, page_size: 10, concurrency: 2}\n"
TO_START = 60.0  # a placed shard takes five to fifteen seconds, on a machine that does nothing else
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pool(tmp_path_factory, new_collect):
    with running_pool(tmp_path_factory.mktemp("pool"), new_collect) as found:
        yield found


@pytest.fixture(scope="module")
def slow(tmp_path_factory, new_source):
    with new_source(tmp_path_factory.mktemp("slow"), *SLOW) as source:
        yield source


@pytest.fixture
def placed(pool, slow, until):
    """A run whose shards are read by workers, the last one now; its process, its id, and what tells of them."""
    known = {each["run_id"] for each in pool.collect.json("status")}
    process = pool.collect.start("run", slow.collection(extra=f"{STRATEGY}placement: pool\n"), "--json")
    try:
        run = until(lambda: [id for each in pool.collect.json("status") if (id := each["run_id"]) not in known])[0]

        def shard(name):
            return next(each for each in pool.collect.json("shards", run) if each["shard_id"] == name)

        def is_read():
            found = pool.collect.json("shards", run)
            return len(found) == 3 and found[2]["state"] == "RUNNING"

        until(is_read, TO_START)
        yield process, run, shard
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def deployed(pool, slow, until):
    """A run that was started in Prefect; its flow run, and what tells of it."""
    with open_storage(Settings(pool.collect.home, None)) as storage:
        file = slow.collection("slow", STRATEGY)
        storage.registry.remember(Collection.model_validate(yaml.safe_load(Path(file).read_text(encoding="utf-8"))))
    deployment = pool.call("/deployments/name/collect/local")["id"]
    flow_run = pool.call(f"/deployments/{deployment}/create_flow_run", {"parameters": {"collection": "slow"}})["id"]

    def run():
        found = pool.collect.json("status", "--collection", "slow")
        return next((each for each in found if each["flow_run_id"] == flow_run), None)

    until(lambda: (found := run()) and found["progress"]["current"] > 20 and found["state"] == "RUNNING", TO_START)
    return flow_run, run


def complete(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return json.loads(out)


@pytest.mark.faults
def test_a_placed_shard_is_paused_and_resumed_in_prefect_while_its_neighbour_is_read(pool, placed, until, slow):
    process, run, shard = placed
    flow_run = pool.named(f"{run}/s03")["id"]
    assert pool.press("Pause", flow_run) == "ACCEPT"
    until(lambda: shard("s03")["state"] == "PAUSED")
    at = shard("s03")["progress"]["current"]
    assert shard("s03")["reason"] == "paused in Prefect"
    state = until(
        lambda: (found := pool.named(f"{run}/s03")["state"])["state_details"]["pause_timeout"] is None and found
    )
    assert state["name"] == "Suspended"
    until(lambda: shard("s02")["state"] == "COMPLETED")
    assert shard("s03")["progress"]["current"] == at
    assert pool.press("Resume", flow_run) == "ACCEPT"
    assert complete(process)["state"] == "COMPLETED"
    assert pool.named(f"{run}/s03")["state"]["type"] == "COMPLETED"
    pages = sum(shard(name)["progress"]["current"] for name in ("s02", "s03"))
    assert (pages, len(pool.collect.export("cases"))) == (400, len(slow.expected()))


@pytest.mark.faults
def test_a_placed_shard_is_paused_softly_by_us_shown_so_in_prefect_and_goes_on_in_place(pool, placed, until):
    process, run, shard = placed
    pool.collect("pause", f"{run}/s03", "--wait")
    until(lambda: pool.named(f"{run}/s03")["state"]["name"] == "Paused")
    pool.collect("resume", f"{run}/s03")
    until(lambda: shard("s03")["state"] == "RUNNING")
    assert complete(process)["state"] == "COMPLETED"
    assert pool.said(f"{run}/s03' submitted to infrastructure") == 1


@pytest.mark.faults
def test_a_placed_shard_whose_worker_is_killed_goes_on_elsewhere(pool, placed, until):
    process, _, shard = placed
    at = shard("s03")["progress"]["current"]
    pool.kill_workers()
    pool.worker()
    until(lambda: shard("s03")["attempts"] > 1, TO_START)
    assert complete(process)["records"]["fetched"] == 403
    assert shard("s03")["progress"]["current"] >= at


@pytest.mark.faults
def test_a_placed_shard_whose_flow_run_is_deleted_is_placed_anew(pool, placed, until):
    process, run, _ = placed
    pool.kill_workers()
    deleted = pool.named(f"{run}/s03")["id"]
    pool.prefect("flow-run", "delete", deleted)
    pool.worker()
    until(lambda: (found := pool.named(f"{run}/s03")) and found["id"] != deleted, TO_START)
    assert complete(process)["records"]["fetched"] == 403


@pytest.mark.faults
@pytest.mark.parametrize("by", ["button", "command"])
def test_a_placed_shard_of_a_run_that_has_ended_is_retried_in_prefect(pool, placed, until, by):
    process, run, shard = placed
    pool.collect("cancel", f"{run}/s03", "--wait")
    process.communicate(timeout=120)
    assert process.returncode == 3
    flow_run = until(lambda: (found := pool.named(f"{run}/s03"))["state"]["type"] == "CANCELLED" and found["id"])
    if by == "button":
        assert pool.press("Retry", flow_run) == "ACCEPT"
    else:
        pool.prefect("flow-run", "retry", flow_run)
    until(lambda: shard("s03")["state"] == "RETRYING", TO_START)
    pool.prefect("deployment", "run", "upkeep/local")
    until(lambda: pool.collect.json("status", run)["state"] == "COMPLETED", 2 * TO_START)
    assert pool.named(f"{run}/s03")["id"] == flow_run


@pytest.mark.faults
def test_a_placed_shard_that_prefect_cancels_is_cancelled_and_can_be_retried(pool, placed, until):
    process, run, shard = placed
    pool.prefect("flow-run", "cancel", pool.named(f"{run}/s03")["id"])
    until(lambda: shard("s03")["state"] == "CANCELLED")
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["state"]) == (3, "PARTIALLY_COMPLETED")
    assert pool.collect.json("retry", f"{run}/s03")["state"] == "COMPLETED"


def test_a_run_of_prefects_is_paused_and_resumed_there(pool, deployed, until):
    flow_run, run = deployed
    assert pool.press("Pause", flow_run) == "ACCEPT"
    until(lambda: run()["state"] == "PAUSED")
    assert run()["reason"] == "paused in Prefect"
    until(lambda: pool.call(f"/flow_runs/{flow_run}")["state"]["state_details"]["pause_timeout"] is None)
    assert pool.press("Resume", flow_run) == "ACCEPT"
    until(lambda: run()["state"] == "COMPLETED", TO_START)
    until(lambda: pool.call(f"/flow_runs/{flow_run}")["state"]["type"] == "COMPLETED")


@pytest.mark.faults
def test_a_soft_pause_is_ended_in_prefect_and_the_process_that_waits_goes_on(pool, deployed, until):
    flow_run, run = deployed
    pool.collect("pause", run()["run_id"], "--wait")
    until(lambda: pool.call(f"/flow_runs/{flow_run}")["state"]["name"] == "Paused")
    assert pool.press("Resume", flow_run) == "ACCEPT"
    until(lambda: run()["state"] == "COMPLETED", TO_START)
    assert pool.said(f"submitting flow run '{flow_run}'") == 1


def test_a_shard_of_a_run_of_prefects_is_paused_alone(pool, deployed, until):
    _, run = deployed
    id = run()["run_id"]

    def states():
        return [each["state"] for each in pool.collect.json("shards", id)][1:]

    until(lambda: states() == ["RUNNING", "RUNNING"])
    pool.collect("pause", f"{id}/s03", "--wait")
    assert (run()["state"], states()) == ("RUNNING", ["RUNNING", "PAUSED"])
    until(lambda: states() == ["COMPLETED", "PAUSED"])
    assert run()["state"] == "RUNNING"
    pool.collect("resume", f"{id}/s03")
    until(lambda: run()["state"] == "COMPLETED", TO_START)


@pytest.mark.faults
def test_a_run_of_prefects_is_cancelled_there(pool, deployed, until):
    flow_run, run = deployed
    assert pool.press("Cancel", flow_run) == "ACCEPT"
    until(lambda: run()["state"] == "CANCELLED")
    assert run()["reason"] == "cancelled in Prefect"


@pytest.mark.faults
def test_a_run_that_works_is_not_begun_twice_by_a_retry(pool, deployed, until):
    flow_run, run = deployed
    assert pool.press("Retry", flow_run) == "ACCEPT"
    until(lambda: run()["state"] == "COMPLETED", TO_START)
    assert sum(each["attempts"] for each in pool.collect.json("shards", run()["run_id"])) == 3


@pytest.mark.faults
def test_a_run_whose_worker_is_killed_is_gone_on_with_by_upkeep(pool, deployed, until):
    flow_run, run = deployed
    pool.kill_workers()
    pool.worker()
    until(lambda: "collect resume" in (run()["waiting_for"] or ""))
    pool.prefect("deployment", "run", "upkeep/local")
    until(lambda: run()["state"] == "COMPLETED", 2 * TO_START)
    assert run()["flow_run_id"] == flow_run


@pytest.mark.faults
def test_what_is_large_is_read_by_workers_unless_somebody_says_otherwise(pool, sample, until):
    with sample("--cases", "100000", "--directories", "10", "--latency", "0.2") as source:
        file = source.collection("large", "strategy: {shard_size: 50000, concurrency: 2}\nplacement: auto\n")
        process = pool.collect.start("run", file, "--json")
        run = until(lambda: pool.collect.json("status", "--collection", "large"))[0]["run_id"]
        until(lambda: "RUNNING" in [each["state"] for each in pool.collect.json("shards", run)[1:]], TO_START)
        told = pool.collect.json("status", run)
        assert (told["placement"], told["placement_reason"]) == ("pool", "100,010 records are 100,000 or more")
        pool.collect("cancel", run, "--wait")
        process.communicate(timeout=60)
        assert process.returncode == 1
        until(lambda: pool.named(f"{run}/s02")["state"]["type"] == "CANCELLED", TO_START)
