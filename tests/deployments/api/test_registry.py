"""Definitions over HTTP: versions and their ETags, what may not be sent, schedules and their switches."""

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from collectors.models import Collection
from collectors.testing.sample import Settings as Sample
from collectors.testing.sample import application as sample
from collectors.testing.serving import served
from deployments.api.registry import secrets_of_tenant

NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "Asia/Shanghai"}
AT = "/api/collections/tests"


@pytest.fixture(scope="module")
def source():
    with served(sample(Sample(cases=5, directories=1))) as address:
        yield address


@pytest.fixture
def body(source, monkeypatch):
    monkeypatch.setenv("COLLECT_SECRET_DEFAULT_TESTS", "sample")
    parameters = {
        "base_url": source,
        "project_id": 1,
        "suite_id": 1,
        "username": "u",
        "api_key": "env:COLLECT_SECRET_DEFAULT_TESTS",
    }
    return {"collector": "testrail", "source": parameters, "schedule": [NIGHTLY]}


@pytest.fixture(scope="module")
def broken():
    async def failing(_):
        return JSONResponse({}, 500)

    with served(Starlette(routes=[Route("/{path:path}", failing)])) as address:
        yield address


@pytest.fixture
def allowed(serve, source, broken):
    """The service, which may collect these sources."""
    return serve(allowed_sources=(source, broken))


@pytest.fixture
def put(allowed):
    def sent(body, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Content-Type"] = "application/json"  # written so that half a character can be sent, too
        return allowed.as_("admin").put(AT, content=json.dumps(body), headers=named)

    return sent


def test_what_is_put_is_in_force_with_its_schedules(put, body, allowed):
    answer = put(body)
    assert (answer.status_code, answer.json()["version"], answer.headers["ETag"]) == (200, 1, '"1"')
    found = allowed.as_("viewer").get(AT)
    assert (found.headers["ETag"], found.json()["definition"]["source"]) == ('"1"', body["source"])
    (due,) = found.json()["schedules"]
    assert (due["slug"], due["active"], due["words"]) == ("nightly", True, "At 02:00")
    assert put(body).json() == {"name": "tests", "version": 1, "differences": []}


def test_who_builds_upon_another_version_is_told_what_differs(put, body):
    put(body, If_None_Match="*")
    assert put(body | {"strategy": {"concurrency": 2}}, If_Match='"1"').json()["differences"] == [
        {"key": "strategy.concurrency", "before": None, "after": 2}
    ]
    late = put(body | {"strategy": {"concurrency": 3}}, If_Match='"1"')
    assert (late.status_code, late.json()["code"], late.headers["ETag"]) == (412, "COL-0434", '"2"')
    assert late.json()["errors"] == [{"at": "strategy.concurrency", "what": "2 -> 3"}]
    assert put(body, If_None_Match="*").status_code == 412
    assert put(body, If_Match="mine").json()["code"] == "COL-0820"


def test_what_would_change_is_told_and_not_done(allowed, body):
    told = allowed.as_("admin").put(f"{AT}?dry_run=true", json=body)
    assert told.json()["version"] == 1
    assert {"key": "collector", "before": None, "after": "testrail"} in told.json()["differences"]
    assert allowed.as_("viewer").get(AT).json()["code"] == "COL-0282"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"source": {"api_key": "sample"}}, "COL-0284"),
        ({"source": {"api_key": "env:HOME"}}, "COL-0821"),
        ({"source": {"username": "env:COLLECT_METADATA"}}, "COL-0821"),
        ({"source": {"base_url": "http://127.0.0.1:1"}}, "COL-0807"),
        ({"source": {"base_url": "env:COLLECT_SECRET_DEFAULT_TESTS"}}, "COL-0807"),
        ({"source": {"base_url": "http://127.0.0.1:99999"}}, "COL-0807"),
        ({"source": {"base_url": "http://[::1"}}, "COL-0807"),
        ({"source": {"project_id": 10**26}}, "COL-0294"),
        ({"source": {"username": "\ud800"}}, "COL-0294"),
        ({"schedule": {"rrule": "FREQ=DAILY;INTERVAL=0"}}, "COL-0806"),
        ({"collector": "import"}, "COL-0237"),
        ({"collector": "nothing"}, "COL-0230"),
        ({"schedule": {"cron": "0 0 30 2 *"}}, "COL-0299"),
        ({"schedule": {"cron": "nonsense"}}, "COL-0806"),
        ({"schedule": {"cron": "0 2 * * *", "timezone": "Mars/Base"}}, "COL-0806"),
        ({"tenant": "acme"}, "COL-0806"),
        ({"name": "other"}, "COL-0806"),
        ({"version": 7}, "COL-0806"),
        ({"mode": "range"}, "COL-0235"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_registered(put, body, allowed, changes, code):
    source = body["source"] | changes.get("source", {})
    answer = put(body | changes | {"source": source})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert allowed.as_("viewer").get(AT).status_code == 404


def test_a_source_that_does_not_answer_is_not_registered_unless_nobody_asks_it(allowed, body, broken):
    gone = body | {"source": body["source"] | {"base_url": broken}, "strategy": {"retry": {"attempts": 1}}}
    assert allowed.as_("admin").put(AT, json=gone).status_code == 503
    assert allowed.as_("admin").put(f"{AT}?offline=true", json=gone).status_code == 200


def test_an_older_version_is_put_in_force_again(put, body, allowed):
    put(body)
    put(body | {"strategy": {"concurrency": 2}})
    admin = allowed.as_("admin")
    assert admin.post(f"{AT}/rollback", json={"version": 1}).json()["version"] == 3
    assert admin.post(f"{AT}/rollback", json={"version": 9}).json()["code"] == "COL-0297"
    first = admin.get(f"{AT}/versions?limit=2").json()
    rest = admin.get(f"{AT}/versions", params={"limit": 2, "cursor": first["next"]}).json()
    assert [each["version"] for each in first["items"] + rest["items"]] == [3, 2, 1]
    assert all(each["created_by"].startswith("key:") for each in first["items"])


def test_a_schedule_is_switched_by_operators(put, body, allowed):
    put(body)
    off = allowed.as_("operator").post(f"{AT}/schedules/nightly/pause", json={"reason": "a holiday"}).json()
    assert [(each["active"], each["next"], each["reason"]) for each in off["schedules"]] == [(False, None, "a holiday")]
    on = allowed.as_("operator").post(f"{AT}/schedules/nightly/resume").json()
    assert on["schedules"][0]["active"]
    assert allowed.as_("operator").post(f"{AT}/schedules/weekly/pause").json()["code"] == "COL-0283"
    assert allowed.as_("viewer").post(f"{AT}/schedules/nightly/pause").status_code == 403


def test_what_is_not_understood_of_a_tag_is_no_leave_to_write(put, body, allowed):
    put(body)
    assert put(body | {"mode": "incremental"}, If_None_Match='"1"').status_code == 422
    admin = allowed.as_("admin")
    late = {"If-Match": '"9"'}
    assert admin.put(f"{AT}?dry_run=true", json=body, headers=late).status_code == 412
    assert admin.post(f"{AT}/rollback", json={"version": 1}, headers=late).status_code == 412
    assert admin.delete(AT, headers=late).status_code == 412
    assert admin.put("/api/collections/new", json=body, headers={"If-Match": "*"}).status_code == 404
    assert admin.get(AT).json()["version"] == 1


def test_unregistered_it_is_gone_and_its_versions_are_not(put, body, allowed):
    put(body)
    assert allowed.as_("admin").delete(AT).status_code == 200
    assert allowed.as_("admin").delete(AT).status_code == 404
    assert allowed.as_("viewer").get(f"{AT}/schedules").status_code == 404
    assert len(allowed.as_("viewer").get(f"{AT}/versions").json()["items"]) == 1


def test_another_tenants_is_not_there_and_neither_are_its_secrets(put, body, allowed, monkeypatch):
    put(body)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/versions"), ("POST", "/schedules/nightly/pause")):
        assert allowed.as_("admin", "acme").request(method, AT + path).status_code == 404
    assert allowed.as_("admin", "acme").put(AT, json=body).json()["code"] == "COL-0821"
    monkeypatch.setenv("COLLECT_SECRET_ACME_TESTS", "sample")
    theirs = body | {"source": body["source"] | {"api_key": "env:COLLECT_SECRET_ACME_TESTS"}}
    assert allowed.as_("admin", "acme").put(AT, json=theirs).json()["version"] == 1
    assert allowed.as_("viewer").get(AT).json()["version"] == 1


def test_a_password_in_what_was_only_run_is_not_told(allowed, body):
    plain = Collection(name="tests", collector="testrail", source=body["source"] | {"api_key": "hunter2-s3cret"})
    allowed.storage.registry.remember(plain)
    assert "hunter2" not in allowed.as_("viewer").get(f"{AT}/versions").text


@pytest.mark.parametrize("tenant", ["default", "acme", "a-b", "a_b", "A", "租户"])
def test_no_two_tenants_share_their_variables(tenant):
    others = {"default", "acme", "a-b", "a_b", "A", "租户", "a"} - {tenant}
    assert not any(secrets_of_tenant(tenant).startswith(secrets_of_tenant(other)) for other in others)
