"""Settings over HTTP: a tenant's own, with what is in force and where it comes from; the service obeys at once."""

import time

import pytest

from deployments.api.guard import NEEDED


def found(client, name="concurrency", **params):
    answer = client.get("/api/config", params=params)
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["items"] if each["name"] == name)


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_what_is_set_for_a_collection_is_answered_and_nobody_elses_is_touched(api):
    operator, body = api.as_(), {"value": 2, "collection": "demo", "reason": "the source is slow"}
    answer = operator.put("/api/config/concurrency", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == found(operator, collection="demo")
    told = {name: answer.json()[name] for name in ("value", "origin", "version", "reason")}
    assert told == {"value": 2, "origin": "collection", "version": 1, "reason": "the source is slow"}
    assert (found(operator)["value"], found(operator)["origin"]) == (4, "default")
    assert found(api.as_("viewer", "acme"), collection="demo")["origin"] == "definition"


def test_the_narrower_value_wins_and_what_is_wider_comes_back_without_it(api):
    operator = api.as_()
    api.storage.config.set(("", ""), "concurrency", 8, "a secret reason")
    theirs = found(operator, collection="demo")
    assert (theirs["value"], theirs["origin"], theirs["set_by"], theirs["reason"]) == (8, "global", None, None)
    operator.put("/api/config/concurrency", json={"value": 3})
    operator.put("/api/config/concurrency", json={"value": 2, "collection": "demo"})
    assert found(operator, collection="demo")["value"] == 2
    for origin, value in (("tenant", 3), ("global", 8)):
        where = {"collection": "demo"} if origin == "tenant" else {}
        answer = operator.delete("/api/config/concurrency", params=where | {"reason": "well again"})
        assert (answer.status_code, answer.json()["origin"], answer.json()["value"]) == (200, origin, value)
    items = operator.get("/api/config/concurrency/history", params={"collection": "demo"}).json()["items"]
    assert [(each["version"], each["value"], each["reason"]) for each in items] == [
        (2, None, "well again"),
        (1, 2, None),
    ]


def test_a_history_goes_on_page_by_page(api):
    for value in (1, 2, 3):
        api.as_().put("/api/config/concurrency", json={"value": value})
    seen, cursor = [], None
    while cursor is not None or not seen:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = api.as_("viewer").get("/api/config/concurrency/history", params=params).json()
        seen += [each["value"] for each in answer["items"]]
        cursor = answer["next"]
    assert seen == [3, 2, 1]


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("concurency", {"value": 2}, (404, "COL-0285")),
        ("concurrency", {"value": 65}, (422, "COL-0286")),
        ("concurrency", {"value": 2.0}, (422, "COL-0286")),
        ("concurrency", {"value": True}, (422, "COL-0286")),
        ("concurrency", {"value": None}, (422, "COL-0806")),
        ("concurrency", {"value": 2, "tenant": "acme"}, (422, "COL-0806")),
        ("concurrency", {"value": 2, "collection": "nothing"}, (404, "COL-0204")),
        ("requests_per_second", {"value": 0}, (422, "COL-0286")),
        ("schedules", {"value": 1}, (422, "COL-0286")),
        ("api_requests_per_second", {"value": 1_000_000}, (403, "COL-0817")),
        ("api_requests_per_second", {"value": 5, "collection": "demo"}, (403, "COL-0817")),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(api, name, body, expected):
    assert code(api.as_("admin").put(f"/api/config/{name}", json=body)) == expected
    assert api.storage.config.values() == {}


def test_what_is_not_the_tenants_own_is_not_taken_away_either(api):
    api.storage.config.set(("default", ""), "api_requests_per_second", 500)
    assert code(api.as_("admin").delete("/api/config/api_requests_per_second")) == (403, "COL-0817")
    assert found(api.as_("viewer"), "api_requests_per_second")["value"] == 500


def test_a_value_may_be_written_as_it_is_typed(api):
    assert api.as_().put("/api/config/schedules", json={"value": "off"}).json()["value"] is False
    assert api.as_().put("/api/config/requests_per_second", json={"value": 5}).json()["value"] == 5.0


def test_what_the_environment_says_is_told(serve):
    for rate, origin in ((1000.0, "default"), (50.0, "environment")):
        theirs = found(serve(requests_per_second=rate).as_("viewer"), "api_requests_per_second")
        assert (theirs["value"], theirs["origin"]) == (rate, origin)


def test_the_rate_of_a_tenant_is_in_force_within_two_seconds_and_for_nobody_else(api, until):
    viewer, other = api.as_("viewer"), api.as_("viewer", "acme")
    assert viewer.get("/api/runs").status_code == 200

    def refused():
        return (answer := viewer.get("/api/runs")).status_code == 429 and answer

    set_at = time.monotonic()
    api.storage.config.set(("default", ""), "api_requests_per_second", 1, "they ask too often")
    assert "more than 1 requests a second" in until(refused, 2).json()["detail"]
    print(f"in force after {time.monotonic() - set_at:.2f} s")
    assert {other.get("/api/runs").status_code for _ in range(20)} == {200}
    api.storage.config.unset(("default", ""), "api_requests_per_second")
    until(lambda: {viewer.get("/api/runs").status_code for _ in range(20)} == {200}, 2)


def test_a_viewer_sees_what_is_set_and_an_operator_sets_it():
    assert {NEEDED[name].name for name in ("config", "config_history")} == {"VIEWER"}
    assert {NEEDED[name].name for name in ("set_config", "unset_config")} == {"OPERATOR"}
