"""Readers and loaders of the full stack, killed at every step: nothing is lost, nothing counted or applied twice."""

import os
from itertools import product
from pathlib import Path

import pymongo
import pytest

APPLY, FINISH = "blocks.sql.rows:Rows.apply", "blocks.sql.rows:Rows.finish"
WRITE, DROP = "blocks.documents.mongo:MongoDocuments.write", "blocks.caches.redis_cache:RedisCache.drop"
DONE, PUBLISH = "blocks.queues.deliveries:RabbitDelivery.done", "blocks.queues.rabbitmq:RabbitQueue.publish"
CHECKPOINT, OBSERVE = "blocks.sql.shards:Shards.checkpoint", "blocks.sql.shards:Shards.observe"
CLAIM, RELEASE = "blocks.sql.shards:Shards.claim", "blocks.sql.shards:Shards.release"
FETCH = "collectors.sources.testrail:TestRail.fetch"
KILLED = -9
HERE = Path(__file__).parent

LOADER_KILLS = [(APPLY, "after", 3), (WRITE, "after", 4), (FINISH, "after", 5)]
ALL_LOADER_KILLS = [*product((APPLY, WRITE, DROP, FINISH, DONE), ("before", "after"), (1, 5))]
READER_KILLS = [(PUBLISH, "after", 4), (CHECKPOINT, "after", 5)]
ALL_READER_KILLS = [
    *product((FETCH, OBSERVE, PUBLISH, CHECKPOINT), ("before", "after"), (1, 5)),
    *product((CLAIM, RELEASE), ("before", "after"), (1, 2)),
]


def named(case):
    target, when, nth = case
    return f"{when} {target.partition(':')[2]} {nth}"


def assert_whole(faults, result, undisturbed, expected):
    """Everything stands once in rows and documents, agrees, and is counted once; nothing waits."""
    assert (result["state"], result["error"]) == ("COMPLETED", None)
    assert result["records"] == undisturbed.records
    assert faults.held() == expected
    assert faults.collect.json("reconcile", "cases") == []
    entries = faults.collect.json("ledger", result["run_id"])
    assert {entry["stage"] for entry in entries if entry["confirmed"]} == {"done"}
    with pymongo.MongoClient(faults.collect.environment["COLLECT_DOCUMENTS"]) as client:
        assert client.get_default_database()["test_case_detail"].count_documents({}) == len(expected)


def check_loader(faults, undisturbed, expected, tmp_path, case):
    mark = tmp_path / "struck"
    paths = os.pathsep.join([str(HERE / "loader"), *filter(None, [os.environ.get("PYTHONPATH")])])
    target, when, nth = case
    faults.collect.environment |= {"PYTHONPATH": paths, "COLLECT_STRIKE": f"{target} {when} {nth} kill {mark}"}
    result = faults.collect.json("run", faults.file)
    assert mark.exists(), "the loader was never struck"
    del faults.collect.environment["COLLECT_STRIKE"]
    assert_whole(faults, result, undisturbed, expected)


@pytest.mark.parametrize("case", LOADER_KILLS, ids=named)
def test_a_run_whose_loader_is_killed_completes_by_itself(stack_faults, undisturbed, expected, tmp_path, case):
    check_loader(stack_faults, undisturbed, expected, tmp_path, case)


@pytest.mark.faults
@pytest.mark.parametrize("case", ALL_LOADER_KILLS, ids=named)
def test_a_run_whose_loader_is_killed_at_any_step_completes(stack_faults, undisturbed, expected, tmp_path, case):
    check_loader(stack_faults, undisturbed, expected, tmp_path, case)


def check_reader(faults, undisturbed, expected, case):
    crash = faults.crash(*case, "kill", KILLED)
    result = faults.collect.json("resume", crash.run_id)
    assert_whole(faults, result, undisturbed, expected)


@pytest.mark.parametrize("case", READER_KILLS, ids=named)
def test_a_killed_run_is_made_whole_by_resume(stack_faults, undisturbed, expected, case):
    check_reader(stack_faults, undisturbed, expected, case)


@pytest.mark.faults
@pytest.mark.parametrize("case", ALL_READER_KILLS, ids=named)
def test_a_run_killed_at_any_step_is_made_whole_by_resume(stack_faults, undisturbed, expected, case):
    check_reader(stack_faults, undisturbed, expected, case)
