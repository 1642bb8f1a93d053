"""Imports: trees, lists and lines; what is wrong with them; once, whatever happens on the way."""

import json
import socket
import sqlite3
import threading
from contextlib import closing

import pytest

NDJSON = {"Content-Type": "application/x-ndjson"}
PATH = "/api/testcase/import"


def line(id, **values):
    return json.dumps({"kind": "case", "id": id, "name": f"case {id}"} | values).encode()


def lines(*ids):
    return b"\n".join(line(str(id)) for id in ids)


def post(api, content, headers=NDJSON, **params):
    return api.as_().post(PATH, content=content, headers=headers, params=params)


def spooled(api):
    with api.storage.catalog._database.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM spool").scalar()


def problem(answer, status, code):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told = answer.json()
    assert (told["status"], told["code"]) == (status, code)
    assert told["type"].endswith(code.lower()) and told["detail"]
    return told


def cases(api):
    return api.storage.rows.count("default", "imports")["case"]


# ---- what is right ---------------------------------------------------------------------------------------


def test_a_tree_is_in_the_stores_with_its_paths(api, tree):
    run_id = api.imported(tree)
    status = api.as_().get(f"/api/task/{run_id}/status").json()
    assert (status["state"], status["progress"]["success"]) == ("COMPLETED", 4)
    found = api.as_().get("/api/testcase/tree").json()["items"]
    assert [each["path"] for each in found] == ["/支付", "/支付/deep\\/er", "/支付/deep\\/er/leaf", "/支付/refund 退款"]


def test_lines_and_an_export_go_in_as_they_came_out(api, tree):
    api.imported(tree)
    exported = [api.as_().get(f"/api/testcase/{id}").json() for id in ("1", "2", "3", "a/b")]
    keys = ("kind", "id", "parent_id", "name", "content", "metadata", "path", "content_hash", "deleted")
    sent = b"\r\n".join(json.dumps({key: each[key] for key in keys}).encode() for each in reversed(exported)) + b"\n\n"
    run_id = api.imported(sent, collection="copy")
    progress = api.as_().get(f"/api/task/{run_id}/status").json()["progress"]
    assert (progress["success"], progress["failure"]) == (4, 0)
    copied = api.as_().get("/api/testcase/a/b", params={"collection": "copy"}).json()
    assert (copied["path"], copied["content_hash"]) == (exported[3]["path"], exported[3]["content_hash"])


def test_of_what_comes_twice_in_lines_the_later_wins_however_far_apart(api):
    run_id = api.imported(
        b"\n".join([line("x", name="first"), *(line(str(n)) for n in range(2500)), line("x", name="last")])
    )
    assert api.as_().get("/api/testcase/x").json()["name"] == "last"
    assert api.as_().get(f"/api/task/{run_id}/status").json()["state"] == "COMPLETED"


def test_a_node_that_is_marked_as_deleted_is_gone_and_may_come_back(api):
    api.imported(lines(1, 2))
    api.imported(line("1", deleted=True))
    assert api.as_().get("/api/testcase/1").json()["deleted"] is True
    assert [each["id"] for each in api.as_().get("/api/testcase/tree").json()["items"]] == ["2"]
    api.imported(line("1"))
    assert cases(api) == 2


def test_nothing_at_all_is_a_run_that_completes(api):
    for body in ([], b"", b"\n \n"):
        run_id = api.imported(body)
        assert api.as_().get(f"/api/task/{run_id}/status").json()["state"] == "COMPLETED"


# ---- what is wrong ---------------------------------------------------------------------------------------


def test_json_is_refused_as_a_whole_and_every_mistake_is_named(api, tree):
    tree[0]["children"][0] |= {"name": "", "nmae": "typo"}
    tree.append({"kind": "case", "id": "2", "name": "twice"})
    told = problem(api.as_().post(PATH, json=tree), 422, "COL-0808")
    assert [each["at"] for each in told["errors"]] == ["/0/children/0"]
    tree[0]["children"][0] = {"kind": "case", "id": "2", "name": "n"}
    told = problem(api.as_().post(PATH, json=tree), 422, "COL-0808")
    assert [(each["at"], each["code"]) for each in told["errors"]] == [("/1", "COL-0519")]
    assert (spooled(api), api.storage.catalog.runs("default")) == (0, [])


def test_json_may_be_imported_record_by_record(api, tree):
    tree[0]["children"][0] = {"kind": "case", "id": "2"}
    run_id = api.imported(tree, validate="records")
    status = api.as_().get(f"/api/task/{run_id}/status").json()
    assert (status["state"], status["progress"]["success"], status["progress"]["failure"]) == (
        "PARTIALLY_COMPLETED",
        3,
        1,
    )


def test_a_line_that_is_no_json_is_quarantined_and_the_rest_goes_on(api):
    run_id = api.imported(b"\n".join([line("1"), b"{not json", b'{"kind":"case","id":"\xff"}', line("2")]))
    status = api.as_().get(f"/api/task/{run_id}/status").json()
    assert (status["progress"]["success"], status["progress"]["failure"]) == (2, 2)
    refused = api.as_().get("/api/quarantine", params={"run": run_id}).json()["items"]
    assert "line 2" in "".join(each["message"] for each in refused)


def test_lines_may_be_refused_as_a_whole(api):
    told = problem(post(api, lines(1) + b"\nnot json\n" + lines(2), validate="whole"), 422, "COL-0808")
    assert [each["at"] for each in told["errors"]] == ["line 2"]
    assert (spooled(api), api.storage.catalog.runs("default")) == (0, [])


@pytest.mark.parametrize("body", [b"", b"{", b'[{"id":"1"}', b"\xff\xfe[]", b"[]]", b"not json", b'["\xff"]'])
def test_a_body_that_is_no_json_is_refused(api, body):
    answer = post(api, body, {"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("COL-0811", "COL-0808")
    assert spooled(api) == 0


def test_a_hundred_megabytes_of_json_are_refused_before_they_are_read(api):
    with socket.create_connection(api.url.removeprefix("http://").split(":")) as connection:
        key = api.as_().headers["Authorization"]
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 104857600\r\n\r\n[".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_json_that_grows_beyond_the_limit_is_refused_however_it_is_sent(api, monkeypatch):
    monkeypatch.setattr("deployments.api.importing.LARGEST_JSON", 1000)
    problem(post(api, iter([b"[" + b" " * 600] * 2), {"Content-Type": "application/json"}), 413, "COL-0803")


def test_json_of_more_nodes_than_are_read_at_once_is_refused(api, tree, monkeypatch):
    monkeypatch.setattr("deployments.api.importing.MOST_NODES", 3)
    problem(api.as_().post(PATH, json=tree), 413, "COL-0803")


def test_json_of_nothing_but_mistakes_is_soon_refused(api):
    told = problem(api.as_().post(PATH, json=[1] * 100_000), 422, "COL-0808")
    assert len(told["errors"]) == 100


def test_an_import_that_takes_too_long_to_be_sent_is_given_up(api, monkeypatch):
    monkeypatch.setattr("deployments.api.importing.SECONDS_TO_SEND", 0.2)
    with socket.create_connection(api.url.removeprefix("http://").split(":")) as connection:
        key = api.as_().headers["Authorization"]
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/x-ndjson\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert spooled(api) == 0


def test_a_thread_that_writes_when_the_import_is_given_up_leaves_nothing_behind(api, monkeypatch, until):
    """The database is locked by somebody else until then."""
    monkeypatch.setattr("deployments.api.importing.SECONDS_TO_SEND", 1)
    key, body = api.as_().headers["Authorization"], lines(*range(20_000))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/x-ndjson\r\n"
    locked = sqlite3.connect(api.storage.catalog._database.path, isolation_level=None)
    with closing(locked), socket.create_connection(api.url.removeprefix("http://").split(":")) as connection:
        locked.execute("BEGIN IMMEDIATE")
        connection.sendall(f"{head}Content-Length: {2 * len(body)}\r\n\r\n".encode() + body)
        connection.settimeout(2)
        with pytest.raises(TimeoutError):  # its second is over, and the thread still waits for the lock
            connection.recv(1)
        locked.execute("ROLLBACK")
        connection.settimeout(30)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert spooled(api) == 0


def test_a_line_that_is_too_long_is_quarantined_alone(api, monkeypatch):
    monkeypatch.setattr("deployments.api.importing.LONGEST_LINE", 1000)
    run_id = api.imported(b"\n".join([line("1"), line("long", name="x" * 3000), line("2")]))
    progress = api.as_().get(f"/api/task/{run_id}/status").json()["progress"]
    assert (progress["success"], progress["failure"]) == (2, 1)


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data; boundary=x", "application/xml"])
def test_what_is_neither_json_nor_lines_is_refused(api, kind):
    problem(post(api, b"x", {"Content-Type": kind}), 415, "COL-0804")


@pytest.mark.parametrize(
    "params", [{"collection": "a b"}, {"collection": "a/b"}, {"validate": "no"}, {"collection": "x" * 101}]
)
def test_parameters_that_are_wrong_are_named(api, params):
    problem(post(api, b"", **params), 422, "COL-0806")


def test_a_collection_that_is_collected_from_a_source_is_left_alone(api):
    problem(post(api, b"", collection="demo"), 409, "COL-0410")


# ---- once, and nothing left behind -----------------------------------------------------------------------


def test_an_import_that_is_sent_twice_is_one_run(api):
    first, again = (post(api, lines(1, 2), NDJSON | {"Idempotency-Key": "k"}).json() for _ in range(2))
    assert (first["run_id"], first["repeated"], again["repeated"]) == (again["run_id"], False, True)
    kept = spooled(api)
    problem(post(api, lines(1, 2), {"Content-Type": "application/jsonl", "Idempotency-Key": "k"}), 409, "COL-0407")
    problem(post(api, lines(3), NDJSON | {"Idempotency-Key": "k"}), 409, "COL-0407")
    problem(post(api, lines(1, 2), NDJSON | {"Idempotency-Key": "k"}, collection="other"), 409, "COL-0407")
    assert spooled(api) == kept > 0
    api.carried_out(first["run_id"])
    assert cases(api) == 2


def test_an_import_sent_many_times_at_once_is_one_run(api):
    client, found = api.as_(), []

    def send():
        found.append(client.post(PATH, content=lines(*range(50)), headers=NDJSON | {"Idempotency-Key": "k"}).json())

    threads = [threading.Thread(target=send) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({each["run_id"] for each in found}) == 1
    (run,) = api.storage.catalog.runs("default")
    assert api.storage.spool.whole(run["run_id"])
    assert spooled(api) == 2


@pytest.mark.parametrize("chunked", [True, False])
def test_an_import_whose_sender_dies_half_way_leaves_nothing_behind(api, until, chunked):
    body = lines(*range(20_000))
    key = api.as_().headers["Authorization"]
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/x-ndjson\r\n"
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 * len(body)}"
    with socket.create_connection(api.url.removeprefix("http://").split(":")) as connection:
        connection.sendall(
            f"{head}{length}\r\n\r\n".encode() + (f"{len(body):x}\r\n".encode() if chunked else b"") + body
        )
        until(lambda: spooled(api) > 0)
    until(lambda: spooled(api) == 0)
    assert api.storage.catalog.runs("default") == []


def test_imports_of_one_collection_wait_for_each_other(api):
    first, second = (post(api, lines(number)).json()["run_id"] for number in (1, 2))
    assert api.storage.requests.waiting() == 2
    api.carried_out(first)
    api.carried_out(second)
    assert cases(api) == 2
