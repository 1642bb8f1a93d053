"""Readers and loaders of the full stack, killed or frozen at every step: nothing is lost, or counted or done twice.

The steps are the places between what must happen in order. A reader: claimed, fetched, published and not confirmed,
confirmed, checkpointed, released. A loader: taken, rows committed, documents written, cache told, done, acknowledged.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pymongo
import pytest

APPLY, FINISH = "blocks.sql.rows:Rows.apply", "blocks.sql.rows:Rows.finish"
WRITE, DROP = "blocks.documents.mongo:MongoDocuments.write", "blocks.caches.redis_cache:RedisCache.drop"
DONE, PUBLISH = "blocks.queues.deliveries:RabbitDelivery.done", "blocks.queues.rabbitmq:RabbitQueue.publish"
CHECKPOINT, OBSERVE = "blocks.sql.shards:Shards.checkpoint", "blocks.sql.shards:Shards.observe"
CLAIM, RELEASE = "blocks.sql.shards:Shards.claim", "blocks.sql.shards:Shards.release"
FETCH, END = "collectors.sources.testrail:TestRail.fetch", "blocks.sql.catalog:Catalog.end"
KILLED, INTERRUPTED = -9, 130
PATIENCE = 120.0
HERE = Path(__file__).parent

LOADER_KILLS = [(APPLY, "after", 3), (WRITE, "after", 4), (FINISH, "after", 5)]
ALL_LOADER_KILLS = [*product((APPLY, WRITE, DROP, FINISH, DONE), ("before", "after"), (4,))]
READER_KILLS = [(PUBLISH, "after", 4), (CHECKPOINT, "after", 5)]
ALL_READER_KILLS = [
    *product((FETCH, OBSERVE, PUBLISH, CHECKPOINT), ("before", "after"), (5,)),
    *product((CLAIM, RELEASE), ("before", "after"), (2,)),
]

LOADER_FREEZES = [*product((APPLY, WRITE, FINISH), ("before", "after"), (3,)), (DONE, "before", 3)]
READER_FREEZES = [
    *product((FETCH, PUBLISH, CHECKPOINT), ("before", "after"), (4,)),
    (RELEASE, "before", 2),
    (END, "before", 1),
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


def struck(environment, case, action, mark):
    paths = os.pathsep.join([str(HERE / "loader"), *filter(None, [os.environ.get("PYTHONPATH")])])
    target, when, nth = case
    return environment | {"PYTHONPATH": paths, "COLLECT_STRIKE": f"{target} {when} {nth} {action} {mark}"}


def check_loader(faults, undisturbed, expected, tmp_path, case):
    mark = tmp_path / "struck"
    faults.collect.environment |= struck(faults.collect.environment, case, "kill", mark)
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


# ---- frozen ------------------------------------------------------------------------------------------------


def wait_for(condition):
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up


@contextmanager
def started(command, environment, folder):
    """A process that does not outlive its test."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=folder, **pipes) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def is_read(storage, run_id):
    shards = storage.catalog.shards(run_id)
    return bool(shards) and all(shard["state"] == "COMPLETED" for shard in shards)


def is_loaded(faults):
    with faults.storage() as storage:
        run_id = faults.run_id()
        return is_read(storage, run_id) and not storage.ledger.open_stages(run_id)


@pytest.mark.faults
@pytest.mark.parametrize("case", LOADER_FREEZES, ids=named)
def test_what_a_frozen_loader_had_in_hand_is_done_by_another_one(stack_faults, undisturbed, expected, tmp_path, case):
    faults, mark = stack_faults, tmp_path / "struck"
    faults.collect.environment["COLLECT_QUEUE"] += "?heartbeat=2"  # so soon it is given up
    environment, folder = faults.collect.environment, faults.collect.home.parent
    command = ["deployments.cli", "run", faults.file, "--json"]
    with started(command, struck(environment, case, "freeze", mark), folder) as run:
        wait_for(lambda: mark.exists() and mark.read_text())
        frozen = int(mark.read_text())
        with started(["blocks.loader", "--while-fed"], environment, folder):
            wait_for(lambda: is_loaded(faults))
            before = faults.held()
            os.kill(frozen, signal.SIGCONT)
            out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, f"{out}\n{err}"
    assert before == expected
    assert_whole(faults, json.loads(out), undisturbed, expected)


@pytest.mark.faults
@pytest.mark.parametrize("case", READER_FREEZES, ids=named)
def test_a_run_frozen_past_its_lease_changes_nothing_when_it_wakes(stack_faults, undisturbed, expected, case):
    faults = stack_faults
    process = faults.start(*case, "freeze", "run", faults.file)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        result = faults.collect.json("resume", faults.run_id())
        before = faults.standing(result["run_id"])
    finally:
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode >= 0, f"{out}\n{err}"
    assert "Traceback" not in err
    assert faults.standing(result["run_id"]) == before
    assert_whole(faults, result, undisturbed, expected)


@pytest.mark.faults
def test_a_run_that_is_stopped_while_it_is_loaded_pauses_and_loads_the_rest_when_it_goes_on(
    stack_faults, undisturbed, expected, tmp_path
):
    faults = stack_faults
    # In the last stage: an earlier one is not read to its end before the one before it is loaded.
    environment = struck(faults.collect.environment, (WRITE, "before", 5), "freeze", tmp_path / "struck")
    with started(["deployments.cli", "run", faults.file], environment, faults.collect.home.parent) as run:
        wait_for((tmp_path / "struck").exists)
        with faults.storage() as storage:
            wait_for(lambda: is_read(storage, faults.run_id()))
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == INTERRUPTED, f"{out}\n{err}"
    assert faults.collect.json("status", faults.run_id())["state"] == "PAUSED"
    assert_whole(faults, faults.collect.json("resume", faults.run_id()), undisturbed, expected)
