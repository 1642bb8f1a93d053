"""Who did what, over HTTP: by which key, and of the caller's own tenant alone."""

import pytest

from blocks.acting import PERSON

MARK = {"watermark": "2026-01-01T00:00:00Z"}


@pytest.fixture
def asked(api, tree):
    """A run and three things that were asked for with a key; what another tenant did; and the id of the key."""
    api.imported(tree)
    api.imported(tree, tenant="acme")
    client = api.as_()
    (key_id,) = (each["key_id"] for each in api.storage.keys.all("default"))
    for body in (MARK, {"watermark": None}, MARK):
        assert client.put("/api/collections/imports/watermark", json=body).status_code == 200
    return f"key:{key_id}"


def entries(api, tenant="default", **params):
    answer = api.as_("admin", tenant).get("/api/audit", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_entry_says_by_which_key_it_was_done(api, asked):
    found = entries(api)["items"]
    by_key = [(each["action"], each["subject"]) for each in found if each["actor"] == asked]
    marks = ["watermark set", "watermark reset", "watermark set"]
    (run_id,) = (each["run_id"] for each in api.storage.catalog.runs("default"))
    assert by_key == [*((action, "imports") for action in marks), ("start", run_id)]
    assert {each["actor"] for each in found} == {asked, PERSON}  # who made the keys
    assert api.storage.audit.verify().faults == ()


def test_it_is_paged_and_holds_the_callers_own_alone(api, asked):
    whole = entries(api)["items"]
    first = entries(api, limit=2)
    rest = entries(api, cursor=first["next"])
    assert first["items"] + rest["items"] == whole
    assert rest["next"] is None
    theirs = entries(api, "acme")["items"]
    assert {each["number"] for each in theirs}.isdisjoint(each["number"] for each in whole)
    assert [each["action"] for each in theirs] == ["keys create", "start", "keys create"]


def test_what_is_refused_or_repeated_has_no_entry(api, asked):
    before = api.storage.audit.verify().entries
    client = api.as_()
    assert client.post("/api/task/00000000/pause").status_code == 404
    assert client.put("/api/collections/imports/watermark", json={"watermark": "later"}).status_code == 422
    for _ in range(2):
        headers = {"Idempotency-Key": "once"}
        node = [{"kind": "case", "id": "9", "name": "nine"}]
        answer = client.post("/api/testcase/import", params={"collection": "other"}, json=node, headers=headers)
        assert answer.status_code == 202
    assert api.storage.audit.verify().entries == before + 1
