"""The verbs over HTTP: their answers, and who may use them."""

import pytest

from collectors.models import ShardPlan
from collectors.states import ShardState

ELSEWHERE = "elsewhere:1:1"


@pytest.fixture
def waiting(api):
    """A run that waits to be carried out."""
    sent = api.as_().post("/api/testcase/import", json=[{"kind": "case", "id": "1", "name": "one"}])
    return sent.json()["run_id"]


@pytest.fixture
def led(api, waiting):
    """One that a process of another machine leads, which reads its first shard."""
    claim = api.storage.catalog.lead(waiting, ELSEWHERE)
    plans = [ShardPlan(shard_id=id, stage="cases", label=id, span={}, estimate=1) for id in ("s01", "s02")]
    api.storage.catalog.save_plan(claim, plans, 1.0)
    return api.storage.shards.claim(waiting, "s01", ELSEWHERE)


def test_a_run_that_waits_is_paused_resumed_and_cancelled(api, waiting):
    def ask(verb, **options):
        return api.as_().post(f"/api/task/{waiting}/{verb}", **options)

    paused = ask("pause", json={"reason": "not now"})
    assert paused.json() | {"waiting_for": None} == {
        "run_id": waiting, "shard_id": None, "state": "PAUSED", "reason": "not now",
        "status": f"/api/task/{waiting}/status", "waiting_for": None,
    }  # fmt: skip
    found = api.as_("viewer").get(f"/api/task/{waiting}/status").json()
    assert (found["state"], found["reason"]) == ("PAUSED", "not now")
    assert ask("resume").json()["state"] == "RESUMING"
    assert api.storage.requests.waiting() == 1
    assert ask("cancel").json()["state"] == "CANCELLED"
    refused = ask("resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "COL-0431")


def test_one_shard_is_paused_and_the_answer_is_held_until_it_is(api, led):
    run = led.run_id
    at = f"/api/task/{run}/shards/s01"
    assert api.as_().post(f"{at}/pause", params={"wait": 0.2}).json()["state"] == "PAUSING"
    refused = api.as_().post(f"{at}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "COL-0429")
    api.storage.shards.release(led, ShardState.PAUSED)
    assert api.as_().post(f"{at}/pause", params={"wait": 5}).json()["state"] == "PAUSED"
    shards = api.as_().get(f"/api/task/{run}/shards").json()["shards"]
    assert [each["state"] for each in shards] == ["PAUSED", "PENDING"]
    assert shards[0]["waiting_for"]
    assert api.as_().post(f"{at}/resume").json()["state"] == "RESUMING"
    assert api.as_().post(f"{at}/cancel").json()["state"] == "CANCELLED"
    again = api.as_().post(f"{at}/retry", json={"reason": "after all"}).json()
    assert (again["state"], again["reason"]) == ("RETRYING", "after all")
    assert api.as_().get(f"/api/task/{run}/shards").json()["shards"][0]["reason"] == "after all"


def test_what_is_not_there_or_not_theirs_is_not_found(api, led):
    run = led.run_id
    for path, as_ in (
        ("/api/task/nothing/pause", api.as_()),
        (f"/api/task/{run}/shards/s09/pause", api.as_()),
        (f"/api/task/{run}/pause", api.as_(tenant="other")),
        (f"/api/task/{run}/shards/s01/cancel", api.as_(tenant="other")),
    ):
        assert as_.post(path).status_code == 404
    assert api.as_("viewer").post(f"/api/task/{run}/cancel").status_code == 403


@pytest.mark.parametrize("body", [{"why": "x"}, {"reason": "x" * 1_001}, {"hard": "maybe"}])
def test_a_body_that_does_not_fit_changes_nothing(api, led, body):
    refused = api.as_().post(f"/api/task/{led.run_id}/pause", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "COL-0806")
    assert api.as_().post(f"/api/task/{led.run_id}/pause", params={"wait": 61}).status_code == 422
    assert api.storage.control.look(led.run_id).state == "RUNNING"


def test_a_retry_that_names_no_shard_is_refused(api, led):
    refused = api.as_().post(f"/api/task/{led.run_id}/retry", json={"scope": "specific", "shards": []})
    assert refused.status_code == 422
