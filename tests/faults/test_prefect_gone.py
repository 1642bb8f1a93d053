"""A Prefect server that goes away under a run: it is not sent away by mistake, and its death costs no record."""

import json
import os
import signal

import pytest

FETCH = "collectors.sources.testrail:TestRail.fetch"
REFUSED, GONE = 4, 5
SECONDS_TO_END = 20


@pytest.fixture
def alone(tmp_path, faults, new_collect):
    """Runs in a folder with a Prefect server of its own."""
    faults.collect = new_collect(tmp_path / "alone" / "home")
    faults.collect.home.parent.mkdir()
    faults.collect("up", "--port", "0")
    try:
        yield faults
    finally:
        faults.collect("down", "--force")


def kill_server(collect):
    noted = json.loads((collect.home / "prefect-server.json").read_text())
    os.kill(int(noted["process"].split(":")[1]), signal.SIGKILL)


def test_a_live_run_keeps_its_server_and_is_paused_when_that_dies(alone, gate, prefect_server, undisturbed, expected):
    process = alone.start(FETCH, "before", 2, gate.action, "run", alone.file)
    gate.wait()
    refused = alone.collect("down", exit_code=REFUSED).stderr
    run_id = alone.run_id()
    assert "COL-0406" in refused
    assert f"run {run_id} is under way" in refused
    kill_server(alone.collect)
    gate.open()
    out, err = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == GONE, f"{out}\n{err}"
    assert "COL-0701" in err
    assert f"collect resume {run_id}" in err
    assert "Traceback" not in err
    run, *shards = alone.standing(run_id)
    assert (run["state"], run["error"]) == ("PAUSED", None)
    assert not {shard["state"] for shard in shards} - {"COMPLETED", "PAUSED", "PENDING"}
    alone.collect.environment |= prefect_server
    result = alone.collect.json("resume", run_id)
    assert (result["state"], result["records"]) == ("COMPLETED", undisturbed.records)
    assert alone.held() == expected


@pytest.mark.faults
def test_a_run_that_has_all_its_records_is_only_closed_by_resume(alone, gate, prefect_server, expected):
    process = alone.start(FETCH, "before", 7, gate.action, "run", alone.file)
    gate.wait()
    kill_server(alone.collect)
    gate.open()
    out, err = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == GONE, f"{out}\n{err}"
    alone.collect.environment |= prefect_server
    assert alone.collect.json("resume", alone.run_id())["state"] == "COMPLETED"
    assert alone.held() == expected


@pytest.mark.faults
def test_ctrl_c_ends_a_run_without_a_server(alone, gate):
    process = alone.start(FETCH, "before", 4, gate.action, "run", alone.file)
    gate.wait()
    kill_server(alone.collect)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == GONE, f"{out}\n{err}"
    assert "COL-0701" in err
    assert alone.standing(alone.run_id())[0]["state"] == "PAUSED"
