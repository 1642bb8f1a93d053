"""Runs that are paused, resumed, retried and cancelled while they run, as a whole and shard by shard."""

from contextlib import contextmanager

import pytest

# Two shards of cases of twenty pages each, a quarter of a second a page; read side by side.
SLOW = ("--cases", "400", "--directories", "3", "--page-size", "10", "--latency", "0.25")
STRATEGY = "strategy: {shard_size: 200, page_size: 10, concurrency: 2}\n"


@pytest.fixture(scope="module")
def slow(tmp_path_factory, new_source):
    with new_source(tmp_path_factory.mktemp("slow"), *SLOW) as source:
        yield source


@pytest.fixture
def running(collect, slow, until):
    """A run in a process of its own, whose two shards of cases are being read."""

    @contextmanager
    def started():
        process = collect.start("run", slow.collection(extra=STRATEGY), "--json")
        try:
            run = until(lambda: collect.json("status"))[0]["run_id"]
            until(lambda: states(run)[1:] == ["RUNNING", "RUNNING"])
            yield process, run
        finally:
            process.kill()
            process.communicate()

    def states(run):
        return [shard["state"] for shard in collect.json("shards", run)]

    return started


@pytest.fixture
def shard(collect):
    return lambda run, name: next(each for each in collect.json("shards", run) if each["shard_id"] == name)


def ended(process, exit_code=0):
    out, err = process.communicate(timeout=90)
    assert process.returncode == exit_code, out + err
    return out


def test_a_shard_that_is_paused_waits_while_its_neighbour_is_read_and_goes_on_where_it_was(
    collect, running, shard, slow, until
):
    with running() as (process, run):
        paused = collect.json("pause", f"{run}/s03", "--reason", "slow", "--wait")
        assert paused == [{"run_id": run, "shard_id": "s03", "state": "PAUSED", "reason": "slow"}]
        at = shard(run, "s03")["progress"]["current"]
        until(lambda: shard(run, "s02")["state"] == "COMPLETED")
        found = shard(run, "s03")
        assert (found["state"], found["progress"]["current"], found["reason"]) == ("PAUSED", at, "slow")
        assert f"collect resume {run}/s03" in found["waiting_for"]
        assert collect.json("status", run)["state"] == "RUNNING"
        collect("resume", f"{run}/s03")
        ended(process)
        assert shard(run, "s03")["attempts"] == 1
        assert len(collect.export("cases")) == len(slow.expected())


def test_a_run_that_is_paused_goes_on_in_its_process(collect, running, slow):
    with running() as (process, run):
        assert collect.json("pause", run, "--wait")[0]["state"] == "PAUSED"
        asked = slow.ask("stats")
        found = collect.json("status", run)
        assert (found["state"], found["waiting_for"]) == ("PAUSED", f"whoever resumes it: collect resume {run}")
        assert process.poll() is None
        assert "COL-0430" in collect("run", "cases", exit_code=4).stderr
        assert slow.ask("stats") == asked
        assert "RESUMING" in collect("resume", run).stderr
        ended(process)
        assert len(collect.export("cases")) == len(slow.expected())


def test_a_hard_pause_lets_the_process_go_and_outlasts_it(collect, running, slow):
    with running() as (process, run):
        collect("pause", run, "--hard", "--reason", "not now")
        ended(process, 130)
        found = collect.json("status", run)
        assert (found["state"], found["reason"]) == ("PAUSED", "not now")
        assert "COL-0430" in collect("run", "cases", exit_code=4).stderr
        done = collect.json("resume", run)
        assert (done["run_id"], done["state"]) == (run, "COMPLETED")
        assert len(collect.export("cases")) == len(slow.expected())


def test_a_pause_outlasts_a_process_that_is_killed(collect, running):
    with running() as (process, run):
        collect("pause", f"{run}/s03", "--wait")
        process.kill()
        process.wait()
        assert collect.json("shards", run)[2]["state"] == "PAUSED"
        assert collect.json("status", run)["waiting_for"]
        assert collect.json("resume", f"{run}/s03")["state"] == "COMPLETED"


def test_a_run_that_is_cancelled_ends_and_keeps_what_it_read(collect, running):
    with running() as (process, run):
        assert collect.json("cancel", run, "--reason", "wrong source", "--wait")[0]["state"] == "CANCELLED"
        ended(process, 1)
        found = collect.json("status", run)
        assert (found["state"], found["reason"]) == ("CANCELLED", "wrong source")
        assert {each["state"] for each in collect.json("shards", run)} == {"COMPLETED", "CANCELLED"}
        assert "COL-0403" in collect("resume", run, exit_code=4).stderr
        assert "COL-0431" in collect("pause", run, exit_code=4).stderr
        assert collect.export("cases")


def test_a_shard_that_is_cancelled_costs_its_own_records_and_can_be_read_after_all(collect, running, shard, slow):
    with running() as (process, run):
        assert "COL-0205" in collect("cancel", run, "s03", exit_code=2).stderr  # and nothing is
        collect("cancel", f"{run}/s03", "--wait")
        ended(process, 3)
        assert "COL-0431" in collect("resume", f"{run}/s03", exit_code=4).stderr
        found = collect.json("status", run)
        assert found["state"] == "PARTIALLY_COMPLETED"
        assert "COL-0432" in found["errors"][0]
        assert collect.json("retry", f"{run}/s03")["state"] == "COMPLETED"
        assert len(collect.export("cases")) == len(slow.expected())


@pytest.mark.parametrize(("verb", "state", "exit_code"), [("cancel", "CANCELLED", 1), ("pause", "PAUSED", 130)])
def test_what_is_asked_for_before_a_run_begins_is_done(collect, slow, until, verb, state, exit_code):
    process = collect.start("run", slow.collection(extra=STRATEGY), "--json")
    run = until(lambda: collect.json("status"))[0]["run_id"]
    options = ["--hard"] if verb == "pause" else []
    assert collect.json(verb, run, *options, "--wait")[0]["state"] == state
    ended(process, exit_code)
    assert collect.json("status", run)["state"] == state


def test_what_is_named_wrongly_is_said(collect):
    assert "COL-0205" in collect("pause", "nothing", exit_code=2).stderr
    assert "COL-0281" in collect("cancel", "nothing/", exit_code=2).stderr
    assert "COL-0280" in collect("resume", "one/s01", "two/s01", exit_code=2).stderr
