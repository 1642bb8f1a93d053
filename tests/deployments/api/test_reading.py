"""The tree, one record, search: pages, cursors, and nothing for who has it already."""

from urllib.parse import quote

import pytest

from deployments.api.answers import cursor_of


def test_a_tree_is_walked_through_by_its_cursors(api, tree):
    api.imported(tree)
    client, found, cursor = api.as_("viewer"), [], None
    while True:
        page = client.get("/api/testcase/tree", params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
        found += page["items"]
        if (cursor := page["next"]) is None:
            break
    assert [each["id"] for each in found] == ["1", "3", "a/b", "2"]
    assert [each["depth"] for each in found] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({"root": "3"}, ["3", "a/b"]),
        ({"depth": 1}, ["1"]),
        ({"root": "1", "depth": 1}, ["1", "3", "2"]),
        ({"collection": "imports"}, ["1", "3", "a/b", "2"]),
    ],
)
def test_a_part_of_the_tree(api, tree, params, ids):
    api.imported(tree)
    assert [each["id"] for each in api.as_("viewer").get("/api/testcase/tree", params=params).json()["items"]] == ids


def test_a_collection_that_is_not_there_is_named(api, tree):
    api.imported(tree)
    for path in ("/api/testcase/tree", "/api/testcase/2", "/api/testcase/search?q=leaf"):
        assert api.as_().get(path).status_code == 200
        answer = api.as_().get(f"{path}{'&' if '?' in path else '?'}collection=nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "COL-0228")


def test_a_parameter_that_is_not_known_is_named(api):
    for path in ("/api/testcase/tree?dept=1", "/api/runs?colection=x", "/api/testcase/search?q=a&at=1"):
        answer = api.as_().get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "COL-0806")
    assert "depth" in api.as_().get("/api/testcase/tree?dept=1").json()["detail"]


def test_a_root_that_is_not_there_is_named(api, tree):
    api.imported(tree)
    answer = api.as_().get("/api/testcase/tree", params={"root": "nothing"})
    assert (answer.status_code, answer.json()["code"]) == (404, "COL-0245")


def test_a_record_in_full_whatever_its_id(api, tree):
    api.imported(tree)
    found = api.as_("viewer").get("/api/testcase/2").json()
    assert (found["content"], found["metadata"]) == ({"steps": ["申请退款"]}, {"p": 1})
    assert (found["path"], found["first"]["page"]) == ("/支付/refund 退款", 1)
    for path in ("/api/testcase/a/b", "/api/testcase/a%2Fb"):
        assert api.as_("viewer").get(path).json()["name"] == "leaf"
    odd = "tree\n?#%&é 支"
    api.imported([{"kind": "case", "id": odd, "name": "odd"}])
    assert api.as_("viewer").get(f"/api/testcase/{quote(odd)}").json()["id"] == odd


def test_a_case_comes_before_a_directory_of_its_id_and_several_collections_are_asked_about(api):
    api.imported([{"kind": "case", "id": "1", "name": "case"}, {"kind": "directory", "id": "1", "name": "dir"}])
    client = api.as_("viewer")
    assert client.get("/api/testcase/1").json()["kind"] == "case"
    assert client.get("/api/testcase/1", params={"kind": "directory"}).json()["name"] == "dir"
    api.imported([{"kind": "case", "id": "1", "name": "other"}], collection="other")
    answer = client.get("/api/testcase/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "COL-0411")
    assert client.get("/api/testcase/1", params={"collection": "other"}).json()["name"] == "other"


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({"q": "退款"}, {"2"}),
        ({"q": "refund", "kind": "directory"}, set()),
        ({"q": "leaf", "under": "/支付/deep\\/er"}, {"a/b"}),
        ({"q": "leaf", "under": "/other"}, set()),
    ],
)
def test_records_are_found_by_their_words(api, tree, params, ids):
    api.imported(tree)
    found = api.as_("viewer").get("/api/testcase/search", params=params).json()
    assert ({each["id"] for each in found["items"]}, found["next"]) == (ids, None)


def test_what_a_search_finds_is_paged(api):
    api.imported([{"kind": "case", "id": str(number), "name": f"word {number}"} for number in range(7)])
    client, found, cursor = api.as_("viewer"), [], None
    for _ in range(4):
        page = client.get(
            "/api/testcase/search", params={"q": "word", "limit": 3} | ({"cursor": cursor} if cursor else {})
        ).json()
        found += [each["id"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert sorted(found) == [str(number) for number in range(7)]


@pytest.mark.parametrize(
    "path", ["/api/testcase/tree", "/api/testcase/2", "/api/testcase/search?q=refund", "/api/runs"]
)
def test_who_has_it_already_gets_304_until_it_changes(api, tree, path):
    api.imported(tree)
    client = api.as_("viewer")
    tag = client.get(path).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    api.imported([{"kind": "case", "id": "2", "parent_id": "1", "name": "refund anew"}])
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("cursor", ["x", "é", "bnVsbA", "WzEsMl0", "W10", "eyJhIjoxfQ", "A" * 1999])
@pytest.mark.parametrize("path", ["/api/testcase/tree", "/api/testcase/search", "/api/runs", "/api/collections"])
def test_a_cursor_of_another_list_is_refused(api, path, cursor):
    answer = api.as_().get(path, params={"cursor": cursor} | ({"q": "a"} if "search" in path else {}))
    assert (answer.status_code, answer.json()["code"]) == (422, "COL-0810")


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("/api/runs", [2**63, "x"]),
        ("/api/runs", [-1, "x"]),
        ("/api/quarantine", [2**64 - 1, "r", "s", 0, 0]),
        ("/api/quarantine", [0, "r", "s", 0]),
        ("/api/testcase/search", [-1]),
        ("/api/testcase/tree", ["imports", "foo", "17", False]),
        ("/api/testcase/tree", ["imports", "foo", "17", True]),
    ],
)
def test_a_cursor_that_was_made_up_is_refused(api, path, position):
    params = {"cursor": cursor_of(position)} | ({"q": "a"} if "search" in path else {})
    answer = api.as_().get(path, params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "COL-0810")


def test_chinese_is_spoken_to_who_asks_for_it(api):
    answer = api.as_().get("/api/testcase/nothing", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "没有" in answer.json()["detail"]
    assert "什么也没有" in api.anybody.get("/nowhere", headers={"Accept-Language": "zh"}).json()["detail"]
    assert "nothing" in api.anybody.get("/nowhere").json()["detail"]


def test_each_version_says_what_it_was_beside_the_one_before(api, tree):
    api.imported(tree)
    for change in ({"name": "other"}, {"name": "other", "deleted": True}, {"name": "other"}):
        api.imported([{"kind": "case", "id": "2", "parent_id": "1"} | change])
    versions = api.as_("viewer").get("/api/collections/imports/history/case/2").json()["versions"]
    assert [each["change"] for each in versions] == ["added", "changed", "deleted", "restored"]
    assert versions[1]["fields"] == ["name", "content", "metadata"]


def test_a_moment_may_have_the_plus_that_an_address_made_a_space(api, tree):
    api.imported(tree)
    answer = api.as_("viewer").get("/api/collections/imports/diff?from=2026-01-01T00:00:00+00:00")
    assert answer.status_code == 200 and len(answer.json()["items"]) == 4
