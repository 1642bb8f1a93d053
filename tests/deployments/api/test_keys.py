"""Who may do what: every route, every kind of key; and nothing of another tenant."""

import re
from itertools import product

import pytest

from blocks.sql.keys import Role
from collectors.errors import Unreachable
from deployments.api.application import ROUTERS, open_router
from deployments.api.guard import NEEDED, SECONDS_KNOWN, Guard, Guarded
from deployments.api.problems import HttpError

ROUTES = [
    (method, route.path, route.name)
    for router in (*ROUTERS, open_router)
    for route in router.routes
    for method in sorted(route.methods)
]
GUARDED = [route for route in ROUTES if route[2] != "health"]
FILLED = {
    "{id:anything}": "2",
    "{slug}": "nightly",
    "{kind}": "case",
    "{name}": "demo",
    "{run}": "nothing",
    "{shard}": "s01",
}
DAY = 24 * 3600 * 1_000_000


def address(path):
    return re.sub(r"{[^}]*}", lambda found: FILLED[found[0]], path)


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_every_route_stands_in_the_table_and_none_is_open_but_the_health():
    assert {name for *_, name in ROUTES} == set(NEEDED)
    assert [name for name, role in NEEDED.items() if role is None] == ["health"]


def test_every_route_looks_at_the_key_first():
    routers = (*ROUTERS, open_router)
    assert all(type(each) is Guarded for router in routers for each in router.routes)


def test_without_a_valid_key_nothing_is_told(api):
    for key in (None, "", "Bearer", "Bearer x", "Basic eDp4", "Bearer pck_0_0", "Bearer \xe9", "bearer"):
        headers = {} if key is None else {"Authorization": key.encode("latin-1")}
        for method, path, _ in GUARDED:
            answer = api.anybody.request(method, address(path), headers=headers, content=b"{broken")
            assert code(answer) == (401, "COL-0801"), (method, path, key)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_that_ended_is_no_key(api, alter):
    (expired, expired_id), (revoked, revoked_id) = (
        api.storage.keys.create("default", Role.ADMIN, "", 1) for _ in range(2)
    )
    database = api.storage.catalog._database
    alter(database, "UPDATE api_key SET expires_at = expires_at - ? WHERE key_id = ?", 2 * DAY, expired_id)
    api.storage.keys.revoke(revoked_id)
    for key in (expired, revoked):
        for method, path, _ in GUARDED:
            answer = api.anybody.request(method, address(path), headers={"Authorization": f"Bearer {key}"})
            assert code(answer) == (401, "COL-0801")


def test_each_role_may_do_its_own_and_no_more(api):
    for role, (method, path, name) in product(Role, GUARDED):
        params = {"q": "x"} if name == "search" else {}
        answer = api.as_(role.name.lower()).request(method, address(path), content=b"{broken", params=params)
        if role < NEEDED[name]:
            assert code(answer) == (403, "COL-0802")
        else:
            assert answer.status_code not in (401, 403)
            assert answer.status_code < 500


async def test_a_key_that_was_revoked_is_let_in_for_a_moment_at_most(api, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("deployments.api.guard.time.monotonic", lambda: now[0])
    key, key_id = api.storage.keys.create("default", Role.VIEWER, "", 1)
    guard = Guard(api.storage.keys.caller, 1000)
    assert await guard.admitted(f"Bearer {key}", "runs")
    api.storage.keys.revoke(key_id)
    assert await guard.admitted(f"Bearer {key}", "runs")
    now[0] = SECONDS_KNOWN + 1
    with pytest.raises(HttpError, match="COL-0801"):
        await guard.admitted(f"Bearer {key}", "runs")


async def test_keys_that_were_never_valid_are_looked_up_only_so_often(api):
    asked = []

    def lookup(key):
        asked.append(key)
        return api.storage.keys.caller(key)

    key, _ = api.storage.keys.create("default", Role.VIEWER, "", 1)
    guard = Guard(lookup, 5)
    assert await guard.admitted(f"Bearer {key}", "runs")
    for number in range(50):
        with pytest.raises(HttpError, match=r"COL-0801|COL-0805"):
            await guard.admitted(f"Bearer pck_{number}_x", "runs")
    assert len(asked) < 10
    assert await guard.admitted(f"Bearer {key}", "runs")
    with pytest.raises(HttpError):
        await guard.admitted(f"Bearer {'x' * 101}", "runs")
    assert "x" * 101 not in asked


async def test_who_is_not_known_is_not_told_where_the_keys_are():
    def lookup(_):
        raise Unreachable("the database {server} does not answer", code="COL-0621", server="10.0.0.1:3306/collect")

    with pytest.raises(HttpError, match="COL-0813") as refused:
        await Guard(lookup, 5).admitted("Bearer pck_0_x", "runs")
    assert "10.0.0.1" not in str(refused.value)
    assert refused.value.status == 503


async def test_what_stands_in_no_table_is_for_admins(api):
    guard = Guard(api.storage.keys.caller, 1000)
    (operator, _), (admin, _) = (
        api.storage.keys.create("default", role, "", 1) for role in (Role.OPERATOR, Role.ADMIN)
    )
    with pytest.raises(HttpError, match="COL-0802"):
        await guard.admitted(f"Bearer {operator}", "made up")
    assert await guard.admitted(f"Bearer {admin}", "made up")


def test_the_health_is_open_and_names_no_address(api):
    answer = api.anybody.get("/api/health")
    assert answer.json()["parts"]["metadata"] == {"state": "ok", "code": None}
    assert "127.0.0.1" not in answer.text


def test_another_tenants_records_and_runs_are_not_there(api, tree):
    run_id = api.imported(tree)
    other = api.as_("admin", tenant="acme")
    for path in (f"/api/task/{run_id}/status", f"/api/task/{run_id}/shards", f"/api/quarantine?run={run_id}"):
        assert code(other.get(path)) == (404, "COL-0205")
    for path in ("/api/testcase/2", "/api/testcase/tree?root=1"):
        assert code(other.get(path)) == (404, "COL-0245")
    for path in ("/api/testcase/2", "/api/testcase/tree", "/api/testcase/search"):
        params = {"collection": "imports"} | ({"q": "refund"} if "search" in path else {})
        assert code(other.get(path, params=params)) == (404, "COL-0228")
    for path in ("/api/testcase/tree", "/api/testcase/search?q=refund", "/api/runs", "/api/quarantine"):
        assert other.get(path).json() == {"items": [], "next": None}
    stolen = api.as_("viewer").get("/api/testcase/tree", params={"limit": 1}).json()["next"]
    assert other.get("/api/testcase/tree", params={"cursor": stolen}).json()["items"] == []


def test_tenants_import_the_same_ids_beside_each_other(api, tree):
    api.imported(tree)
    api.imported([{"kind": "case", "id": "2", "name": "theirs"}], tenant="acme")
    assert api.as_("viewer", "acme").get("/api/testcase/2").json()["name"] == "theirs"
    assert api.as_("viewer").get("/api/testcase/2").json()["name"] == "refund 退款"


def test_a_tenant_that_asks_too_often_waits_and_another_does_not(serve):
    api = serve(requests_per_second=3)
    answers = [api.as_("viewer").get("/api/runs") for _ in range(6)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused and int(refused[0].headers["Retry-After"]) >= 1
    assert refused[0].json()["code"] == "COL-0805"
    assert api.as_("viewer", "acme").get("/api/runs").status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused(api, chunked):
    body = b'{"mode": "' + b"x" * 70_000 + b'"}'
    answer = api.as_().post("/api/collections/demo/runs", content=iter([body]) if chunked else body)
    assert code(answer) == (413, "COL-0803")
