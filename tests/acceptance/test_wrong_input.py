"""What goes wrong is said: what, where, what to do; with the right exit code, and nothing half-done."""

import json
import shlex
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer

import pytest

DIRECTORIES = [{"id": 1, "name": "支付", "parent_id": None}]
CASES = [
    {"id": 1, "title": "付款", "section_id": 1},
    {"title": "no id", "section_id": 1},
    {"id": 3, "title": "退款", "section_id": 1},
]


def tree(path):
    kind, items = ("sections", DIRECTORIES) if "get_sections" in path else ("cases", CASES)
    offset = int(path.rpartition("offset=")[2])
    limit = int(path.partition("limit=")[2].partition("&")[0])
    page = items[offset : offset + limit]
    body = {"offset": offset, "limit": limit, "size": len(page), "_links": {"next": None}, kind: page}
    return 200, "application/json", json.dumps(body).encode()


FAILURES = {
    "a wrong password": ((401, "application/json", b'{"error": "Authentication failed"}'), "refused the credentials"),
    "a wrong address": ((404, "text/html", b"<html>"), "answered 404"),
    "a web page": ((200, "text/html", b"<html><body>Log in</body></html>"), "a web page instead of JSON"),
    "another program": ((200, "application/json", b'{"hello": "world"}'), "does not answer like TestRail"),
    "broken JSON": ((200, "application/json", b'{"sections": ['), "broken JSON"),
    "a broken server": ((500, "text/plain", b"oops"), "failed with 500"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_source_that_cannot_be_read_fails_the_run_with_its_reason(collect, server, definition, failure):
    answer, message = FAILURES[failure]
    server.answer = lambda path: answer
    process = collect("run", definition(server.url), exit_code=1)
    assert message in process.stdout
    assert "secret-key" not in process.stdout + process.stderr
    status = collect.json("status")[0]
    assert status["state"] == "FAILED"
    assert message in status["errors"][0]
    assert collect("export", "cases").stdout == ""


def test_a_source_that_is_down_fails_the_run_and_resume_goes_on_when_it_is_back(collect, server, definition):
    server.answer = tree
    url, port = server.url, server.server_port
    server.server_close()
    result = collect.json("run", definition(url), exit_code=1)
    assert (result["state"], result["records"]["fetched"]) == ("FAILED", 0)
    assert "cannot be reached" in result["error"]

    with ThreadingHTTPServer(("127.0.0.1", port), server.RequestHandlerClass) as again:
        again.answer = tree
        threading.Thread(target=again.serve_forever, daemon=True).start()
        result = collect.json("resume", result["run_id"], exit_code=3)
        again.shutdown()
    assert (result["state"], result["records"]["new"]) == ("PARTIALLY_COMPLETED", 3)


def test_a_case_without_an_id_is_quarantined_and_its_neighbours_are_applied(collect, server, definition):
    server.answer = tree
    result = collect.json("run", definition(server.url), exit_code=3)
    assert result["state"] == "PARTIALLY_COMPLETED"
    assert result["records"]["fetched"] == 4
    assert result["records"]["new"] == 3
    assert result["records"]["quarantined"] == 1
    assert set(collect.export("cases")) == {("directory", "1"), ("case", "1"), ("case", "3")}
    refused = collect.json("quarantine", result["run_id"])
    assert [(each["reason"], each["position"]) for each in refused] == [("missing-id", 1)]
    assert json.loads(refused[0]["payload"]) == CASES[1]
    assert "missing-id" in collect("quarantine", result["run_id"]).stdout


def test_more_refused_records_than_allowed_fail_the_run(collect, server, definition):
    server.answer = tree
    result = collect.json("run", definition(server.url, strategy={"max_errors": 0}), exit_code=1)
    assert result["state"] == "FAILED"
    assert "max_errors" in result["error"]


def test_an_unknown_key_is_refused_before_anything_is_done(collect, definition):
    process = collect("run", definition("http://127.0.0.1:9", source_={}), exit_code=2)
    assert "unknown key 'source_'" in process.stderr
    assert "Did you mean source?" in process.stderr
    assert collect.json("status") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "there is no collection 'nothing'"),
        (["run", "demos"], "Did you mean demo?"),
        (["run", "missing.yaml"], "cannot be read"),
        (["status", "00000000"], "there is no run 00000000"),
        (["resume", "00000000"], "there is no run 00000000"),
        (["shards", "00000000"], "there is no run 00000000"),
        (["quarantine", "00000000"], "there is no run 00000000"),
        (["tree"], "say which collection"),
        (["export", "nothing"], "nothing was collected as 'nothing'"),
        (["run", "demo", "--mode", "sideways"], "sideways"),
        (["runn", "demo"], "run"),
        (["run", "demo", "--set", "nonsense"], "key=value"),
        (["run", "demo", "--set", "strategy.concurency=2"], "Did you mean concurrency?"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(collect, arguments, message):
    process = collect(*arguments, exit_code=2)
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status", "--tenant", "\udcff"], "COL-0610"),
        (["tree", "\udcff"], "COL-0228"),
        (["up", "--port", "99999999"], "COL-0702"),
        (["up", "--port", "-1"], "COL-0702"),
        (["run", "demo", "--set", "name=[" + "[" * 5_000], "COL-0216"),
        (["run", "demo", "--set", "name=\udcff"], "COL-0213"),
    ],
    ids=["tenant", "collection", "high port", "negative port", "deep", "not text"],
)
def test_odd_arguments_exit_with_2_and_say_what_is_wrong(tmp_path, new_collect, arguments, code):
    process = new_collect(tmp_path / "home")(*arguments, exit_code=2)
    assert code in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
def test_an_output_that_cannot_be_written_is_no_traceback(tmp_path, new_collect, output):
    collect = new_collect(tmp_path / "home")
    command = f"{shlex.quote(sys.executable)} -m deployments.cli list {output}"
    done = subprocess.run(command, shell=True, env=collect.environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    if output == ">/dev/full":
        assert "error COL-0251" in done.stderr and "  fix   " in done.stderr


def test_a_file_that_fails_is_not_called_the_output(tmp_path, new_collect):
    collect = new_collect(tmp_path / "home")
    (collect.home / "prefect-server.lock").mkdir(parents=True)
    (collect.home / "prefect-server.json").mkdir()
    process = collect("down", exit_code=1)
    assert "COL-0252" in process.stderr and "prefect-server.json" in process.stderr
    assert "output" not in process.stderr


def test_a_prefect_server_that_does_not_answer_exits_with_5(tmp_path, new_collect):
    collect = new_collect(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")
    process = collect("run", "demo", exit_code=5)
    assert "PREFECT_API_URL" in process.stderr
    assert not collect.home.exists()
