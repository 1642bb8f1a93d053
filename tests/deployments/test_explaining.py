"""What was collected, where it came from, and what went wrong: `show` and `errors`."""

import sqlite3
from contextlib import closing

import pytest


def test_a_record_is_shown_with_its_origin(typed, tmp_path, testrail, gathered):
    run_id = gathered(tmp_path / "home", testrail.definition(page_size=3))
    found = typed("show", "4", "--json").json
    assert (found["kind"], found["path"], found["content"]["steps"]) == ("case", "/支付/退款", [])
    origin = {name: found["first"][name] for name in ("run_id", "shard_id", "page", "part")}
    assert origin == {"run_id": run_id, "shard_id": "s02", "page": 2, "part": 1}
    assert found["version"]["observation"] == found["last"]["observation"] > 0

    ambiguous = typed("show", "1", exit_code=2).stderr
    assert "directory of cases, case of cases" in ambiguous
    assert "collect show 1 --collection cases --kind directory" in ambiguous
    shown = typed("show", "1", "--kind", "case").stdout
    for text in ("case 1  付款", "version 1700000000 of the source", f"run {run_id}, shard s02, page 1"):
        assert text in shown
    assert "collect search" in typed("show", "2", exit_code=2).stderr
    assert "COL-0228" in typed("show", "4", "--collection", "other", exit_code=2).stderr


def test_errors_are_a_line_for_each_cause_of_the_newest_runs(typed, tmp_path, testrail, gathered):
    testrail.broken = "get_cases.*limit=4&offset=0"
    failed = gathered(tmp_path / "home", testrail.definition("broken", page_size=4))
    older = gathered(tmp_path / "home", testrail.definition(page_size=3))
    newer = gathered(tmp_path / "home", testrail.definition(max_errors=2))

    found = typed("errors", "--json").json
    assert {each["run_id"] for each in found} == {failed, newer}
    causes = {(each["collection"], each["cause"]): each for each in found}
    assert causes["cases", "missing-id"]["count"] == 2
    assert causes["cases", "missing-name"]["count"] == 1
    (error,) = (each for each in found if each["run_id"] == failed)
    assert error["count"] == 1 and "collect retry" in error["fix"]
    assert "failed with 500" in error["example"] and error["cause"].startswith("COL-03")
    (refused,) = (each for each in found if each["kind"] == "error" and each["run_id"] == newer)
    assert "max_errors" in refused["example"] and "collect quarantine" in refused["fix"]

    assert [each["count"] for each in typed("errors", older, "--json").json] == [2, 1]
    assert f"{older}\tcases\t2\tmissing-id\t" in typed("errors", older).stdout
    assert "nothing went wrong" in typed("errors", "--tenant", "other").stderr


def test_words_of_the_source_are_not_taken_for_advice(typed, tmp_path, testrail, gathered):
    testrail.broken, testrail.said = "get_cases.*limit=4&offset=0", {"error": "Oops. Try later"}
    run_id = gathered(tmp_path / "home", testrail.definition(page_size=4))
    (found,) = typed("errors", run_id, "--json").json
    assert found["example"].endswith('failed with 500: "Oops. Try later"')
    assert found["fix"] == "Ask the source's owner; when it is well again: collect retry RUN"

    in_a_line = f"{found['cause']}: {found['example']}. {found['fix']}"
    assert in_a_line in typed("status", run_id).stdout
    assert in_a_line in typed("shards", run_id).stdout
    assert in_a_line in {each["error"] for each in typed("shards", run_id, "--json").json}


@pytest.fixture
def refused(typed, tmp_path, testrail, gathered):
    """What `errors` says about records that were refused with a reason and a message."""

    def said(reason, message):
        run_id = gathered(tmp_path / "home", testrail.definition())
        with closing(sqlite3.connect(tmp_path / "home" / "collect.db")) as connection, connection:
            connection.execute("UPDATE quarantine SET reason = ?, message = ?", (reason, message))
        (found,) = typed("errors", run_id, "--json").json
        return found

    return said


def test_what_was_said_of_a_refused_record_is_not_torn(refused):
    found = refused("malformed", "COL-0504: cannot be mapped: KeyError('Oops. Try later')")
    assert found["example"] == "COL-0504: cannot be mapped: KeyError('Oops. Try later')"


@pytest.mark.parametrize("reason", ["huge-number", "malformed", "a-reason-of-a-plug-in"])
def test_a_reason_that_names_no_field_sends_to_what_the_source_sent(refused, reason):
    fix = refused(reason, "COL-0506: it is")["fix"]
    assert fix.startswith("look at what the source sent: collect quarantine ")


def test_a_field_that_is_invalid_is_named(refused):
    assert refused("invalid-metadata", "COL-0503: metadata: too deep")["fix"].startswith("correct metadata in the ")
