"""What was, by REST: what a record was, what became of all of them, and the tree as a run left it."""

import anyio
import pytest

from collectors.sources import testrail
from tests.properties.leading import Kept, Still

UPDATED, MOVED, GONE = "1", "2", "3"


class Was:
    """Two runs of a source in which one case was updated, one moved, one deleted and one added meanwhile."""

    def __init__(self, api) -> None:
        source = Still()
        runs = Kept(api.storage, source, "cases", testrail.TestRail)
        self.client = api.as_("viewer")
        self.before = anyio.run(runs.run, "full")
        self.tree = self.pages("/api/testcase/tree", collection="cases")
        source.now += 100
        source.tree.update("case", int(UPDATED), name="another name")
        self.left = source.tree.cases.parents[int(MOVED)]
        self.home = next(id for id in source.tree.directories.ids if id != self.left)
        source.tree.move("case", int(MOVED), self.home)
        source.tree.delete("case", int(GONE))
        self.added = str(source.tree.add("case", self.home, "new"))
        self.after = anyio.run(runs.run, "full")

    def get(self, path: str, **params):
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pages(self, path: str, **params) -> list[dict]:
        found, cursor = [], {}
        while True:
            page = self.get(path, **params, **cursor)
            found += page["items"]
            assert len(page["items"]) <= params.get("limit", 100)
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    def versions(self, id: str) -> list[dict]:
        found = self.get(f"/api/collections/cases/history/case/{id}")
        assert found["collection"] == "cases"
        return found["versions"]


@pytest.fixture
def was(api):
    return Was(api)


def test_what_was_by_rest(was):
    """One pair of runs is looked at from all sides."""
    _what_a_record_was(was)
    _what_became_of_the_records(was)
    _the_tree_as_a_run_left_it(was)


def _what_a_record_was(was):
    moved, updated, gone = was.versions(MOVED), was.versions(UPDATED), was.versions(GONE)
    assert [each["parent_id"] for each in moved] == [str(was.left), str(was.home)]
    for each in (moved, updated, gone):
        assert [version["run_id"] for version in each] == [was.before, was.after]
    assert [each["deleted"] for each in gone] == [False, True]
    assert updated[1]["name"] == "another name" != updated[0]["name"]
    assert updated[1]["path"].endswith("/another name")
    assert [each["run_id"] for each in was.versions("4")] == [was.before]
    assert [each["run_id"] for each in was.versions(was.added)] == [was.after]


def _what_became_of_the_records(was):
    path, between = "/api/collections/cases/diff", {"from": was.before, "to": was.after}
    found = was.get(path, **between)["items"]
    assert {each["id"]: each["change"] for each in found} == {
        UPDATED: "changed", MOVED: "moved", GONE: "deleted", was.added: "added",
    }  # fmt: skip
    assert {each["kind"] for each in found} == {"case"}
    for limit in (1, 3):
        assert was.pages(path, **between, limit=limit) == found
    assert was.get(path, **{"from": was.before})["items"] == found
    assert was.get(path, **{"from": was.after})["items"] == []
    refused = was.client.get(path, params={"from": was.after, "to": was.before})
    assert refused.json()["code"] == "COL-0276"


def _the_tree_as_a_run_left_it(was):
    of = {"collection": "cases"}
    now = was.pages("/api/testcase/tree", **of)
    shown = ("kind", "id", "name", "depth")
    for run, expected in ((was.before, was.tree), (was.after, now)):
        found = was.pages("/api/testcase/tree", **of, at=run, limit=4)
        assert [[each[name] for name in shown] for each in found] == [
            [each[name] for name in shown] for each in expected
        ]
    assert {each["id"] for each in now if each["kind"] == "case"} >= {was.added}
    assert now != was.tree
