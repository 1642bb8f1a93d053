"""The doctor finds what is broken, never breaks itself, and repairs only what loses nothing."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from blocks.process import identity, this_process
from deployments.doctor import stores


@pytest.fixture
def home(tmp_path, testrail, gathered):
    """A folder that was collected into, with nothing wrong."""
    gathered(tmp_path / "home", testrail.definition())
    return tmp_path / "home"


@pytest.fixture
def findings(typed):
    """What the doctor finds: each check's findings as (state, what, fix)."""

    def found(*arguments, exit_code=0):
        checks = {}
        for each in typed("doctor", "--json", *arguments, exit_code=exit_code).json:
            checks.setdefault(each["check"], []).append((each["state"], each["what"], each["fix"]))
        return checks

    return found


def test_a_sound_folder_has_no_problems(typed, home, testrail):
    said = typed("doctor")
    assert {line.split()[0] for line in said.stdout.splitlines()} == {"ok", "skip"}
    assert "problems: 0, warnings: 0" in said.stderr
    for text in ("must be < 0.151", "wal, ", "with FTS5", "valid definitions: cases", f"{testrail.url}: 200 in"):
        assert text in said.stdout


def test_an_empty_folder_is_no_problem_and_stays_empty(findings, tmp_path):
    checks = findings()
    assert checks["home"][0][0] == checks["runs"][0][0] == checks["clock"][0][0] == "skip"
    assert not (tmp_path / "home").exists()


def test_garbage_for_a_database_is_a_finding(findings, home):
    (home / "collect.db").write_bytes(b"no database at all" * 1000)
    checks = findings(exit_code=1)
    assert [state for state, _, _ in checks["database"]] == ["fail", "ok"]
    assert checks["runs"][0][0] == "skip"


def test_a_damaged_page_is_a_finding(findings, home):
    with sqlite3.connect(home / "documents.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (home / "documents.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    (_, (state, what, fix)) = findings(exit_code=1)["database"]
    assert state == "fail" and "documents.db" in what and "copy" in fix


@pytest.mark.parametrize(
    "damage", ["UPDATE search_data SET block = x'00'", "INSERT INTO search(search) VALUES ('delete-all')"]
)
def test_a_damaged_search_index_is_made_anew(typed, findings, home, damage):
    with sqlite3.connect(home / "documents.db") as connection:
        connection.execute(damage)
    connection.close()
    assert findings(exit_code=1)["search"][0][0] == "fail"
    typed("doctor", "--fix")
    assert findings()["search"][0][0] == "ok"
    assert "付款" in typed("search", "付款").stdout


def test_looking_changes_nothing(findings, home):
    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        connection.execute("UPDATE run SET state = 'RUNNING', lease_until = 0")
        connection.execute("PRAGMA user_version = 1")
    (home / "collect.db").chmod(0o644)
    assert findings()["runs"][0][0] == "warn"
    with closing(sqlite3.connect(home / "collect.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert (home / "collect.db").stat().st_mode & 0o777 == 0o644


def test_a_catalog_of_another_program_or_version_is_not_read(findings, home):
    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    assert findings(exit_code=1)["runs"][0][0] == "skip"
    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
        connection.execute("DROP TABLE run")
    assert findings()["runs"][0][0] == "skip"


def test_an_index_that_is_too_large_for_the_time_is_told_so(findings, home, monkeypatch):
    monkeypatch.setattr(stores, "SECONDS_TO_CHECK", 0)
    monkeypatch.setattr(stores, "STEPS_BETWEEN_LOOKS", 1)
    checks = findings()
    state, what, _ = checks["search"][0]
    assert (state, "too large" in what) == ("warn", True)
    assert [(state, "too large" in what) for state, what, _ in checks["database"]] == [("warn", True)] * 2


def test_an_index_that_is_locked_is_told_so(findings, home):
    with closing(sqlite3.connect(home / "documents.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        checks = findings()
    state, what, fix = checks["search"][0]
    assert (state, "locked" in what) == ("warn", True)
    assert "process" in fix
    assert checks["database"][1][::2] == (state, fix)


def test_an_index_that_cannot_be_opened_is_told_so(findings, home):
    with closing(sqlite3.connect(home / "documents.db")) as connection, connection:
        connection.execute("DROP TABLE search_config")
    state, what, _ = findings()["search"][0]
    assert (state, what.partition(" (")[0]) == ("warn", "search index: cannot be looked at")


def test_an_index_that_lacks_some_records_is_told_so_and_made_anew(findings, home):
    with closing(sqlite3.connect(home / "documents.db")) as connection, connection:
        copied = (
            "INSERT INTO document (tenant, collection, kind, id, version, deleted, content_hash, path, body) "
            "SELECT tenant, collection, kind, id || 'x', version, deleted, content_hash, path, body FROM document"
        )
        added = connection.execute(copied).rowcount
    state, what, _ = findings(exit_code=1)["search"][0]
    assert (state, what) == ("fail", f"search index: damaged ({added} records are not in it)")
    assert findings("--fix")["search"][0][:2] == ("ok", "search index: whole")


def test_an_index_that_was_never_made_is_told_so(findings, home):
    with closing(sqlite3.connect(home / "documents.db")) as connection, connection:
        connection.execute("DROP TABLE search_vocabulary")
        connection.execute("DROP TABLE search")
        connection.execute("PRAGMA user_version = 1")
    assert findings()["search"][0][:2] == ("skip", "search index: none yet")


def test_the_index_is_not_made_anew_while_a_run_is_under_way(typed, findings, home):
    with closing(sqlite3.connect(home / "documents.db")) as connection, connection:
        connection.execute("INSERT INTO search(search) VALUES ('delete-all')")
    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        (run_id,) = connection.execute("SELECT run_id FROM run").fetchone()
        held = (this_process(), (time.time_ns() // 1000) + 60_000_000)
        connection.execute("UPDATE run SET state = 'RUNNING', owner = ?, lease_until = ?", held)
    state, _, fix = findings("--fix", exit_code=1)["search"][0]
    assert state == "fail" and fix.startswith(f"when run {run_id} has ended: ")

    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        connection.execute("UPDATE run SET state = 'COMPLETED', owner = NULL, lease_until = 0")
    assert findings("--fix")["search"][0][:2] == ("ok", "search index: whole")


def test_a_repair_that_did_not_help_is_not_called_one(typed, home):
    with closing(sqlite3.connect(home / "documents.db")) as connection, connection:
        # Numbers of documents begin at 1: making the index anew does not find this one.
        connection.execute("UPDATE document SET rowid = -1 WHERE rowid = 1")
        connection.execute("INSERT INTO search(search) VALUES ('delete-all')")
    (found,) = (each for each in typed("doctor", "--fix", "--json", exit_code=1).json if each["check"] == "search")
    assert (found["state"], found["repaired"]) == ("fail", False)
    assert "the repair failed" in found["what"]


def test_a_file_for_a_folder_is_a_finding(findings, tmp_path):
    (tmp_path / "home").write_text("")
    assert findings(exit_code=1)["home"][0][0] == "fail"


def test_what_can_be_repaired_is_and_said_so(typed, findings, home):
    home.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    note = home / "prefect-server.json"
    note.write_text(json.dumps({"api": "http://127.0.0.1:9/api", "process": f"{socket.gethostname()}:{gone.pid}:1"}))
    before = findings()
    assert before["home"][0][::2] == ("warn", f"chmod 700 {home}")
    assert before["prefect"][0][::2] == ("warn", "collect doctor --fix")
    assert note.exists()

    assert typed("doctor", "--fix").stdout.count("(repaired: ") == 2
    assert home.stat().st_mode & 0o777 == 0o700
    assert not note.exists()
    after = findings()
    assert (after["home"][0][0], after["prefect"][0][0]) == ("ok", "skip")


def test_a_run_that_nobody_works_on_is_found(findings, home):
    with sqlite3.connect(home / "collect.db") as connection:
        connection.execute("UPDATE run SET state = 'RUNNING', lease_until = 0")
        (run_id,) = connection.execute("SELECT run_id FROM run").fetchone()
    connection.close()
    state, _, fix = findings()["runs"][0]
    assert (state, fix) == ("warn", f"collect resume {run_id}")


def test_sources_that_hang_or_are_gone_are_found_soon(findings, home, gathered, testrail):
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        _point(home, testrail.url, address)
        began = time.monotonic()
        state, what, _ = findings(exit_code=1)["sources"][0]
        assert time.monotonic() - began < 60
    assert (state, address in what) == ("fail", True)
    assert "refused" in findings(exit_code=1)["sources"][0][1]


def _point(home, old, new):
    with sqlite3.connect(home / "collect.db") as connection:
        connection.execute("UPDATE collection SET definition = replace(definition, ?, ?)", (old, new))
    connection.close()


def test_a_definition_whose_variable_is_not_set_is_found(findings, home):
    _point(home, '"secret-key"', '"env:NOT_SET_ANYWHERE"')
    state, what, _ = findings(exit_code=1)["collections"][0]
    assert state == "fail" and "NOT_SET_ANYWHERE" in what


def test_a_plug_in_that_cannot_be_imported_is_found_and_the_others_are_used(findings, plug_in):
    plug_in("house_bad:House", "import nothing_like_it")
    bad, good = findings(exit_code=1)["collectors"]
    assert bad[0] == "fail" and "nothing_like_it" in bad[1]
    assert good[:2] == ("ok", "collectors: kiwi, testrail")


def test_a_clock_that_is_off_is_found(findings, home, testrail):
    testrail.headers = {"Date": "Wed, 01 Jan 2020 00:00:00 GMT"}
    state, _, fix = findings()["clock"][0]
    assert state == "warn" and "NTP" in fix


def test_a_prefect_server_that_does_not_answer_is_found(findings, home, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    state, _, fix = findings(exit_code=1)["prefect"][0]
    assert state == "fail" and "PREFECT_API_URL" in fix


def test_a_prefect_server_that_listens_is_busy_and_left_alone(typed, home):
    with (
        socket.create_server(("127.0.0.1", 0)) as busy,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server,
    ):
        noted = {"api": f"http://127.0.0.1:{busy.getsockname()[1]}/api", "process": identity(server.pid)}
        (home / "prefect-server.json").write_text(json.dumps(noted))
        assert "does not answer" in typed("doctor", "--fix", exit_code=1).stdout
        assert server.poll() is None


def test_a_prefect_server_whose_start_was_left_unfinished_is_ended(typed, findings, home):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as silent:
        noted = {"api": "http://127.0.0.1:9/api", "process": identity(silent.pid)}
        (home / "prefect-server.json").write_text(json.dumps(noted))
        state, _, fix = findings(exit_code=1)["prefect"][0]
        assert (state, fix, silent.poll()) == ("fail", "collect down", None)
        assert "(repaired: collect down)" in typed("doctor", "--fix").stdout
        assert silent.wait(10) != 0
    assert findings()["prefect"][0][0] == "skip"


def test_a_prefect_server_is_asked_once(findings, testrail, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"{testrail.url}/api")
    checks = findings()
    assert f"{testrail.url}/api answers in" in checks["prefect"][0][1]
    assert checks["clock"][0][0] == "ok"
    assert testrail.asked == 1


def test_a_source_is_asked_as_its_collector_asks(findings, home, testrail, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    _point(home, testrail.url, f"{testrail.url}/测试")
    state, what, _ = findings()["sources"][0]
    assert (state, "200 in" in what) == ("ok", True)
