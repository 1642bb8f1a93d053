"""What a run stands at and what it refused, as it is shown."""

import json
import shlex

import pytest


@pytest.fixture
def run_id(tmp_path, testrail, gathered):
    """A run that read everything, and refused the cases at positions 1, 2 and 4 of the list."""
    return gathered(tmp_path / "home", testrail.definition())


def test_people_count_pages_and_positions_from_one_and_programs_from_zero(typed, run_id):
    rows = [line.split("\t") for line in typed("quarantine", run_id).stdout.splitlines()]
    assert [row[2:4] for row in rows] == [["1", "2"], ["1", "3"], ["1", "5"]]
    assert [(each["page"], each["position"]) for each in typed("quarantine", run_id, "--json").json] == [
        (0, 1),
        (0, 2),
        (0, 4),
    ]


@pytest.mark.parametrize("which", [(), ("run",)])
def test_more_refused_records_are_a_command_away(typed, run_id, which):
    said = typed("quarantine", *(run_id for _ in which), "--limit", "2")
    assert said.stdout.count("\n") == 2
    command = shlex.split(said.stderr.partition("More: collect ")[2])
    assert typed(*command).stdout.count("\n") == 3
    assert "More" not in typed(*command).stderr
    assert len(json.loads(typed("quarantine", "--limit", "2", "--json").stdout)) == 2


@pytest.mark.parametrize("number", ["-1", "1000001", "9" * 22])
@pytest.mark.parametrize("command", ["quarantine --limit", "search word --limit", "try demo --items"])
def test_no_number_of_rows_is_taken_that_cannot_be_meant(typed, command, number):
    assert "COL-0201" in typed(*command.split(), number, exit_code=2).stderr


def test_a_run_that_read_everything_is_not_resumed_and_says_how_to_read_anew(typed, run_id):
    before = typed("status", run_id, "--json").json
    said = typed("resume", run_id, exit_code=3)
    assert "nothing is left to read" in said.stderr and "collect run cases" in said.stderr
    assert "3 quarantined" in said.stdout
    assert typed("status", run_id, "--json").json == before


def test_one_run_is_watched_and_a_list_is_not(typed, run_id):
    assert run_id in typed("status", run_id, "--watch").stdout
    assert "collect status RUN --watch" in typed("status", "--watch", exit_code=2).stderr


def test_one_shard_is_shown_by_its_name(typed, run_id):
    listed = typed("shards", run_id, "--json").json
    assert [typed("status", f"{run_id}/{each['shard_id']}", "--json").json for each in listed] == listed
    said = typed("status", f"{run_id}/s02").stdout
    assert f"{run_id}/s02" in said and listed[1]["range"] in said and listed[1]["state"] in said
    assert "collect shards" in typed("status", f"{run_id}/s99", exit_code=2).stderr
    assert "COL-0205" in typed("status", "nothing/s01", exit_code=2).stderr
