"""Runs: asked for, kept, and watched."""

import sqlite3
from contextlib import closing

import pytest

from blocks.process import this_process
from collectors.models import Collection, ShardPlan
from collectors.states import RunState, ShardState

SOURCE = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "k"}


@pytest.fixture
def known(api):
    api.storage.registry.remember(Collection(name="cases", collector="testrail", source=SOURCE))
    return api


def start(api, name="cases", body=None, **headers):
    body = {"mode": "full"} if body is None else body
    return api.as_().post(f"/api/collections/{name}/runs", json=body, headers=headers)


def test_a_run_that_is_asked_for_is_kept_and_says_what_it_waits_for(known):
    told = start(known)
    assert told.status_code == 202
    run_id = told.json()["run_id"]
    assert told.headers["Location"] == f"/api/task/{run_id}/status"
    assert "Prefect" in told.json()["waiting_for"]
    status = known.as_("viewer").get(told.headers["Location"]).json()
    assert (status["state"], status["progress"]["phase"], status["shards"]) == ("CREATED", "planning", {})
    assert known.storage.requests.take(this_process()) == run_id


def test_without_a_body_everything_is_read(known):
    answer = known.as_().post("/api/collections/cases/runs")
    assert answer.status_code == 202
    assert known.storage.catalog.run(answer.json()["run_id"])["mode"] == "full"


def test_a_second_one_is_refused_with_the_first_ones_id(known):
    run_id = start(known).json()["run_id"]
    again = start(known)
    assert (again.status_code, again.json()["code"]) == (409, "COL-0408")
    assert run_id in again.json()["detail"]


def test_asked_for_again_with_its_key_it_is_the_same_run(known):
    first, again = (start(known, **{"Idempotency-Key": "k"}).json() for _ in range(2))
    assert (again["run_id"], again["repeated"]) == (first["run_id"], True)
    other = start(known, body={"mode": "full", "base_url": "http://x"}, **{"Idempotency-Key": "k"})
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("nothing", 404, "COL-0204"), ("a.yaml", 404, "COL-0204"), ("..%2F..%2Fetc%2Fpasswd", 404, "COL-0809")],
)
def test_a_collection_is_known_by_its_name_alone(api, name, status, code):
    answer = start(api, name)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_was_imported_cannot_be_collected(api, tree):
    api.imported(tree)
    assert (start(api, "imports").status_code, start(api, "imports").json()["code"]) == (422, "COL-0237")


@pytest.mark.parametrize(
    "body",
    [{"mode": "all"}, {"mode": "full", "x": 1}, {"mode": 1}, [], "full", {"mode": "full", "base_url": "x"}],
)
def test_a_body_that_is_wrong_is_named(known, body):
    answer = known.as_().post("/api/collections/cases/runs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "COL-0806")
    assert answer.json()["errors"]


def test_another_address_has_to_be_on_the_operators_list(serve):
    api = serve(allowed_sources=("http://allowed:8000",))
    api.storage.registry.remember(Collection(name="cases", collector="testrail", source=SOURCE))
    for address in (
        "http://allowed:8001",
        "https://allowed:8000",
        "http://allowed.evil:8000",
        "http://169.254.169.254",
    ):
        answer = start(api, body={"mode": "full", "base_url": address})
        assert (answer.status_code, answer.json()["code"]) == (422, "COL-0807")
    run_id = start(api, body={"mode": "full", "base_url": "http://allowed:8000/x"}).json()["run_id"]
    assert "http://allowed:8000/x" in api.storage.catalog.run(run_id)["definition"]
    assert api.storage.registry.definition("default", "cases").source == SOURCE


def test_runs_are_listed_newest_first_by_pages(api, tree):
    ids = [api.imported(tree) for _ in range(3)]
    client, found, cursor = api.as_("viewer"), [], None
    while True:
        page = client.get("/api/runs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [each["run_id"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert found == ids[::-1]
    assert client.get("/api/runs", params={"state": "FAILED"}).json()["items"] == []
    assert len(client.get("/api/runs", params={"collection": "imports", "state": "COMPLETED"}).json()["items"]) == 3


def test_the_shards_of_a_run_are_shown(api, tree):
    run_id = api.imported(tree)
    found = api.as_("viewer").get(f"/api/task/{run_id}/shards").json()
    assert found["run_id"] == run_id
    directories, cases = found["shards"]
    assert directories["progress"] == cases["progress"] == {"current": 2, "total": 2}
    assert (cases["state"], cases["errors"], cases["retry_count"], cases["waiting_for"]) == ("COMPLETED", [], 0, None)


def test_what_was_refused_is_shown_by_pages(api):
    run_id = api.imported(b"\n".join(b"not json %d" % number for number in range(5)))
    client, found, cursor = api.as_("viewer"), [], None
    while True:
        params = {"run": run_id, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/quarantine", params=params).json()
        found += [each["payload"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert len(set(found)) == 5


def test_what_is_refused_meanwhile_is_shown_to_who_begins_anew_and_nothing_twice(api):
    api.imported(b"\n".join(b"not json %d" % number for number in range(4)))
    client = api.as_("viewer")
    first = client.get("/api/quarantine", params={"limit": 2}).json()
    api.imported(b"not json either")
    rest = client.get("/api/quarantine", params={"cursor": first["next"]}).json()["items"]
    assert len({each["payload"] for each in [*first["items"], *rest]}) == 4
    assert len(client.get("/api/quarantine").json()["items"]) == 5


def test_a_service_that_is_down_says_so_whatever_its_caller_has(api):
    with closing(sqlite3.connect(api.storage.catalog._database.path)) as damaging:
        damaging.executescript(
            "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'nothing'; PRAGMA schema_version = 1000000"
        )
    answer = api.anybody.get("/api/health", headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()["status"]) == (503, "down")


def test_known_collections_are_listed_by_name(known):
    client, found, cursor = known.as_("viewer"), [], None
    while True:
        page = client.get("/api/collections", params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        found += [each["name"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert found == ["cases", "demo"]


# ---- watermarks --------------------------------------------------------------------------------------------


def test_a_watermark_is_read_set_and_taken_away(known):
    at = "/api/collections/cases/watermark"
    assert known.as_("viewer").get(at).json()["watermark"] is None
    put = known.as_("operator").put(at, json={"watermark": "1970-01-01T00:00:00Z"})
    assert (put.status_code, put.json()["moved_by"]) == (200, None)
    assert put.json()["watermark"].startswith("1970-01-01")
    assert known.as_("operator").put(at, json={"watermark": None}).json()["watermark"] is None
    for wrong, code in (("2026-01-01T00:00:00", "COL-0273"), ("2999-01-01T00:00:00Z", "COL-0274")):
        assert known.as_("operator").put(at, json={"watermark": wrong}).json()["code"] == code
    assert known.as_("viewer").get("/api/collections/nothing/watermark").status_code == 404


def test_an_epoch_is_for_admins(known):
    at = "/api/collections/cases/epoch"
    assert known.as_("operator").post(at).status_code == 403
    assert [known.as_("admin").post(at).json()["epoch"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mode": "incremental"}, 202),
        ({"mode": "range", "scope": {"ids": "1..2"}}, 202),
        ({"mode": "range"}, 422),
        ({"mode": "full", "scope": {"ids": "1..2"}}, 422),
        ({"mode": "range", "scope": {"since": "2026-01-01T00:00:00"}}, 422),
        ({"mode": "range", "scope": {"ids": "2..1"}}, 422),
        ({"mode": "range", "scope": {"since": "2999-01-01T00:00:00Z"}}, 422),
    ],
)
def test_a_run_of_a_mode_is_asked_for(known, body, status):
    answer = known.as_("operator").post("/api/collections/cases/runs", json=body)
    assert answer.status_code == status, answer.text
    assert "Value error" not in answer.text


# ---- doing over --------------------------------------------------------------------------------------------


@pytest.fixture
def ended(api):
    """A run of a source, complete."""
    catalog, me = api.storage.catalog, this_process()
    source = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "k"}
    claim = catalog.begin(Collection(name="cases", collector="testrail", source=source), me)
    claim = catalog.lead(claim.run_id, me)
    plan = ShardPlan(shard_id="s01", stage="cases", label="1", span={}, estimate=10)
    catalog.save_plan(claim, [plan], 0.0)
    held = api.storage.shards.claim(claim.run_id, "s01", me)
    api.storage.shards.release(held, ShardState.COMPLETED)
    catalog.end(claim, RunState.COMPLETED)
    return claim.run_id


def test_a_retry_waits_for_the_service(api, ended):
    client = api.as_("operator")
    refused = client.post(f"/api/task/{ended}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "COL-0425")
    answer = client.post(
        f"/api/task/{ended}/retry", json={"scope": "all", "max_retries": 1, "interval": 2, "reason": "anew"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "run_id": ended, "state": "RESUMING", "shards": ["s01"], "status": f"/api/task/{ended}/status",
    }  # fmt: skip
    assert api.storage.requests.waiting() == 1
    assert client.get(f"/api/task/{ended}/status").json()["reason"] == "anew"
    assert '"attempts":2' in api.storage.catalog.run(ended)["definition"]


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "specific"},
        {"shards": ["1"]},
        {"scope": "some"},
        {"max_retries": -1},
        {"interval": 0},
        {"when": "now"},
    ],
)
def test_a_retry_that_says_nothing_sensible_is_refused(api, body):
    run = api.imported([{"kind": "case", "id": "1", "name": "n"}])
    assert api.as_("operator").post(f"/api/task/{run}/retry", json=body).status_code == 422


def test_a_retry_of_what_is_not_theirs(api):
    run = api.imported([{"kind": "case", "id": "1", "name": "n"}])
    assert api.as_("operator", "other").post(f"/api/task/{run}/retry").status_code == 404
    assert api.as_("viewer").post(f"/api/task/{run}/retry").status_code == 403
    unknown = api.as_("operator").post(f"/api/task/{run}/retry", json={"scope": "specific", "shards": ["nothing"]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "COL-0277")
