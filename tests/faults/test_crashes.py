"""Whatever kills, interrupts or freezes a run: resumed, it ends with what an undisturbed one holds."""

import json
import signal
from itertools import product

import pytest

KILLED, INTERRUPTED, REFUSED = -signal.SIGKILL, 130, 4

OBSERVE, CLAIM = "blocks.sql.shards:Shards.observe", "blocks.sql.shards:Shards.claim"
CHECKPOINT, RELEASE = "blocks.sql.shards:Shards.checkpoint", "blocks.sql.shards:Shards.release"
SURVEY, FETCH = "collectors.sources.testrail:TestRail.survey", "collectors.sources.testrail:TestRail.fetch"
APPLY, FINISH = "blocks.sql.rows:Rows.apply", "blocks.sql.rows:Rows.finish"
WRITE, REPATH = "blocks.documents.sqlite:SqliteDocuments.write", "blocks.documents.sqlite:SqliteDocuments.repath"
REPLACE = "blocks.sql.rows:Rows.replace"
BEGIN, LEAD = "blocks.sql.catalog:Catalog.begin", "blocks.sql.catalog:Catalog.lead"
SAVE_PLAN, END = "blocks.sql.catalog:Catalog.save_plan", "blocks.sql.catalog:Catalog.end"

REPAIRS = (REPATH, REPLACE)
AT_CLOSE = 3  # they are done once after each stage before

# One of each kind of damage; 9 pages in 3 shards, so the 5th page is in the midst of the cases.
KILLS = [
    (BEGIN, "after", 1),
    (SAVE_PLAN, "before", 1),
    (FETCH, "after", 2),
    (APPLY, "after", 5),
    (WRITE, "after", 4),
    (CHECKPOINT, "before", 6),
    (REPLACE, "before", 1),
]
ALL_KILLS = [
    *product((FETCH, OBSERVE, APPLY, WRITE, FINISH, CHECKPOINT), ("before", "after"), (1, 5)),
    *product((CLAIM, RELEASE), ("before", "after"), (1, 2)),
    *product(REPAIRS, ("before", "after"), (1, AT_CLOSE)),
    *product((LEAD, SURVEY, SAVE_PLAN, END), ("before", "after"), (1,)),
    (BEGIN, "after", 1),
]
INTERRUPTS = [(SURVEY, "before", 1), (FETCH, "before", 2), (CHECKPOINT, "after", 5)]
ALL_INTERRUPTS = [
    *product((FETCH, APPLY, WRITE, CHECKPOINT), ("before",), (1, 5)),
    *product((LEAD, SAVE_PLAN, CLAIM), ("after",), (1,)),
]


def named(case):
    target, when, nth = case
    return f"{when} {target.partition(':')[2]} {nth}"


def assert_made_whole(faults, crash, undisturbed, expected):
    """`collect resume` ends the run as if nothing had happened."""
    result = faults.collect.json("resume", crash.run_id)
    assert (result["state"], result["error"]) == ("COMPLETED", None)
    assert result["records"] == undisturbed.records
    assert faults.held() == expected
    # A page on its way is read again, once for each shard; a survey that was not saved is asked again.
    again = crash.open_shards if crash.planned else crash.requests
    assert faults.requests() <= undisturbed.requests + again


def test_an_undisturbed_run_holds_all_there_is(undisturbed, expected):
    assert undisturbed.records == {
        "fetched": len(expected), "new": len(expected), "changed": 0, "unchanged": 0, "regressed": 0, "quarantined": 0,
        "deleted": 0,
    }  # fmt: skip


# ---- kill -9 -----------------------------------------------------------------------------------------------


def check_kill(faults, undisturbed, expected, case):
    crash = faults.crash(*case, "kill", KILLED)
    assert crash.open_shards <= 2
    assert crash.unplaced > 0 or case[2] == AT_CLOSE or case[0] not in REPAIRS or case == (REPLACE, "after", 1)
    assert_made_whole(faults, crash, undisturbed, expected)


@pytest.mark.parametrize("case", KILLS, ids=named)
def test_a_killed_run_is_made_whole_by_resume(faults, undisturbed, expected, case):
    check_kill(faults, undisturbed, expected, case)


@pytest.mark.faults
@pytest.mark.parametrize("case", ALL_KILLS, ids=named)
def test_a_run_killed_at_any_step_is_made_whole_by_resume(faults, undisturbed, expected, case):
    check_kill(faults, undisturbed, expected, case)


def test_cases_are_read_when_directories_have_their_places(faults):
    assert faults.crash(FETCH, "after", 5, "kill", KILLED).unplaced == 0


@pytest.mark.faults
def test_a_run_that_is_killed_again_while_it_is_resumed_is_made_whole(faults, undisturbed, expected):
    crash = faults.crash(APPLY, "after", 4, "kill", KILLED)
    for case in ((WRITE, "after", 1), (CHECKPOINT, "before", 2)):
        process = faults.start(*case, "kill", "resume", crash.run_id)
        process.communicate(timeout=90)
        assert process.returncode == KILLED
    result = faults.collect.json("resume", crash.run_id)
    assert (result["state"], result["records"]) == ("COMPLETED", undisturbed.records)
    assert faults.held() == expected


@pytest.mark.faults
@pytest.mark.parametrize("case", [(LEAD, "after", 1), (FETCH, "before", 5)], ids=named)
def test_prefect_shows_nothing_of_a_killed_run_as_running_once_it_is_resumed(faults, case):
    crash = faults.crash(*case, "kill", KILLED)
    faults.collect("resume", crash.run_id)
    assert faults.unended_in_prefect(crash.run_id) == []


@pytest.mark.faults
def test_a_new_run_takes_the_place_of_a_killed_one(faults, expected):
    crash = faults.crash(CHECKPOINT, "after", 4, "kill", KILLED)
    result = faults.collect("run", "cases", "--json")
    assert f"run {crash.run_id} had stopped" in result.stderr
    assert faults.held() == expected
    assert faults.collect.json("status", crash.run_id)["state"] == "CANCELLED"
    refused = faults.collect("resume", crash.run_id, exit_code=REFUSED)
    assert "collect run cases" in refused.stderr


# ---- Ctrl-C ------------------------------------------------------------------------------------------------


def check_interrupt(faults, undisturbed, expected, case):
    crash = faults.crash(*case, "interrupt", INTERRUPTED)
    assert crash.state == "PAUSED"
    assert crash.said.count(f"collect resume {crash.run_id}") == 1
    assert faults.unended_in_prefect(crash.run_id) == []
    assert_made_whole(faults, crash, undisturbed, expected)


@pytest.mark.parametrize("case", INTERRUPTS, ids=named)
def test_ctrl_c_pauses_a_run_and_resume_goes_on(faults, undisturbed, expected, case):
    check_interrupt(faults, undisturbed, expected, case)


def test_sigterm_pauses_a_run_as_ctrl_c_does(faults, undisturbed, expected):
    crash = faults.crash(FETCH, "before", 5, "terminate", INTERRUPTED)
    assert crash.state == "PAUSED"
    assert "Traceback" not in crash.said
    assert f"collect resume {crash.run_id}" in crash.said
    assert faults.unended_in_prefect(crash.run_id) == []
    assert_made_whole(faults, crash, undisturbed, expected)


@pytest.mark.faults
@pytest.mark.parametrize("case", ALL_INTERRUPTS, ids=named)
def test_ctrl_c_at_any_step_pauses_a_run_and_resume_goes_on(faults, undisturbed, expected, case):
    check_interrupt(faults, undisturbed, expected, case)


@pytest.mark.faults
def test_ctrl_c_in_one_stage_keeps_the_next_one_from_being_started(faults):
    crash = faults.crash(FETCH, "after", 1, "interrupt", INTERRUPTED)
    shards = faults.collect.json("shards", crash.run_id)
    assert [shard["stage"] for shard in shards if shard["attempts"]] == ["directories"]


@pytest.mark.faults
def test_ctrl_c_says_on_stderr_how_to_go_on_when_stdout_is_json(faults):
    crash = faults.crash(FETCH, "before", 2, "interrupt", INTERRUPTED, "--json")
    assert f"collect resume {crash.run_id}" in crash.stderr


@pytest.mark.faults
@pytest.mark.parametrize(
    "case", [*product(REPAIRS, ("before", "after"), (AT_CLOSE,)), (END, "before", 1), (END, "after", 1)], ids=named
)
def test_ctrl_c_while_a_run_is_closed_lets_it_complete(faults, undisturbed, expected, case):
    crash = faults.crash(*case, "interrupt", 0)
    assert faults.held() == expected
    status = faults.collect.json("status", crash.run_id)
    assert (status["state"], status["reason"]) == ("COMPLETED", None)


@pytest.mark.faults
def test_ctrl_c_ends_a_run_whose_source_does_not_answer(faults, gate, undisturbed, expected):
    process = faults.start(FETCH, "before", 4, gate.action, "run", faults.file)
    gate.wait()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    result = faults.collect.json("resume", faults.run_id())
    assert (result["state"], result["records"]) == ("COMPLETED", undisturbed.records)
    assert faults.held() == expected


@pytest.mark.faults
def test_a_second_ctrl_c_stops_at_once_and_loses_nothing(faults, gate, undisturbed, expected):
    process = faults.start(WRITE, "before", 4, gate.action, "run", faults.file)
    gate.wait()
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "Ctrl-C again" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    result = faults.collect.json("resume", faults.run_id())
    assert (result["state"], result["records"]) == ("COMPLETED", undisturbed.records)
    assert faults.held() == expected


# ---- two processes at one run ------------------------------------------------------------------------------


def test_resuming_a_live_run_says_so_and_changes_nothing(faults, gate, undisturbed, expected):
    process = faults.start(FETCH, "after", 2, gate.action, "run", faults.file)
    gate.wait()
    run_id = faults.run_id()
    before = faults.standing(run_id)
    said = faults.collect("resume", run_id)
    assert f"run {run_id} is under way already" in said.stderr
    assert f"{run_id} is RUNNING" in said.stderr
    assert faults.standing(run_id) == before
    gate.open()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, f"{out}\n{err}"
    assert faults.held() == expected
    assert faults.collect.json("status", run_id)["progress"]["success"] == undisturbed.records["new"]


def test_of_two_runs_started_at_once_one_runs_and_the_other_is_refused(faults, gate, expected):
    both = [faults.start(SURVEY, "before", 1, gate.action, "run", faults.file) for _ in range(2)]
    gate.wait()
    run_id = faults.run_id()
    loser = faults.first_to_end(both)
    _, err = loser.communicate(timeout=30)
    assert loser.returncode == REFUSED
    assert run_id in err
    gate.open()
    (winner,) = [process for process in both if process is not loser]
    out, err = winner.communicate(timeout=90)
    assert winner.returncode == 0, f"{out}\n{err}"
    assert [row["run_id"] for row in faults.collect.json("status")] == [run_id]
    assert faults.held() == expected


@pytest.mark.faults
def test_of_two_resumes_started_at_once_one_goes_on_and_the_other_leaves(faults, gate, undisturbed, expected):
    crash = faults.crash(CHECKPOINT, "after", 4, "kill", KILLED)
    both = [faults.start(FETCH, "before", 1, gate.action, "resume", crash.run_id) for _ in range(2)]
    gate.wait()
    loser = faults.first_to_end(both)
    _, err = loser.communicate(timeout=30)
    assert loser.returncode in (0, REFUSED)  # by whether it came before the other led the run
    assert crash.run_id in err
    gate.open()
    (winner,) = [process for process in both if process is not loser]
    out, err = winner.communicate(timeout=90)
    assert winner.returncode == 0, f"{out}\n{err}"
    assert faults.held() == expected
    assert faults.collect.json("status", crash.run_id)["progress"]["success"] == undisturbed.records["new"]


# ---- frozen ------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    "case", [(APPLY, "before", 5), (CHECKPOINT, "before", 5), (REPATH, "before", 1), (END, "before", 1)], ids=named
)
def test_a_process_frozen_past_its_lease_changes_nothing_when_it_wakes(faults, gate, undisturbed, expected, case):
    process = faults.start(*case, gate.action, "run", faults.file)
    gate.wait()
    faults.freeze(process)
    gate.open()
    run_id = faults.run_id()
    try:
        result = faults.collect("resume", run_id, "--json")
        assert "waiting" in result.stderr
        done = json.loads(result.stdout)
        assert (done["state"], done["records"]) == ("COMPLETED", undisturbed.records)
        before = faults.collect.export("cases"), faults.standing(run_id)
    finally:
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode >= 0, f"{out}\n{err}"
    assert "Traceback" not in err
    assert (faults.collect.export("cases"), faults.standing(run_id)) == before
    assert faults.held() == expected
