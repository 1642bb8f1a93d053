"""The sample source answers like TestRail, misbehaves as told, and knows what a collector has to find."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import httpx
import orjson
import pytest

from collectors.errors import Misconfigured
from collectors.models import Retry
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.sources import testrail
from collectors.testing.sample import Settings, application, serve
from collectors.testing.sample_tree import Tree

SMALL = Settings(cases=300, directories=60, page_size=50)
NEVER = 10**6


def client(settings: Settings = SMALL, **more) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application(settings, **more)), base_url="http://sample")


async def get(sample: httpx.AsyncClient, call: str) -> httpx.Response:
    return await sample.get(f"/index.php?/api/v2/{call}")


async def everything(sample: httpx.AsyncClient, key: str) -> list[dict]:
    found, link = [], f"/api/v2/get_{key}/1&suite_id=1&limit=50&offset=0"
    while link:
        page = (await sample.get(f"/index.php?{link}")).json()
        found, link = found + page[key], page["_links"]["next"]
    return found


async def change(sample: httpx.AsyncClient, verb: str, **body) -> dict:
    answer = await sample.post(f"/_sample/{verb}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def expected(sample: httpx.AsyncClient) -> dict[tuple[str, str], dict]:
    return {(each["kind"], each["id"]): each for each in (await sample.get("/_sample/expected")).json()}


# ---- the tree ------------------------------------------------------------------------------------------


async def test_same_settings_give_the_same_bytes():
    calls = ("get_cases/1&limit=50&offset=100", "get_sections/1&limit=50&offset=0", "get_case/7")
    async with client() as one, client() as two, client(Settings(cases=300, directories=60, seed=2)) as other:
        for call in calls:
            assert (await get(one, call)).content == (await get(two, call)).content
            assert (await get(one, call)).content != (await get(other, call)).content


def test_the_tree_is_ten_levels_deep_in_two_languages_and_badly_ordered():
    tree = Tree(2_000, 800, seed=1)
    sections = [orjson.loads(body) for body in tree.directories.page(0, NEVER, tree.directories.ids)]
    depths = {section["id"]: section["depth"] for section in sections}
    children = [section for section in sections if section["parent_id"]]
    assert max(depths.values()) == 9
    assert all(depths[child["parent_id"]] == child["depth"] - 1 for child in children)
    assert 0.01 < sum(child["parent_id"] > child["id"] for child in children) / len(sections) < 0.04
    names = [section["name"] for section in sections]
    bodies = [body.decode() for body in tree.cases.page(0, NEVER, tree.cases.ids)]
    for texts in (names, [orjson.loads(body)["title"] for body in bodies]):
        chinese = sum(bool(re.search("[一-龥]", text)) for text in texts)
        assert 0.1 < chinese / len(texts) < 0.9
    assert any("/" in name for name in names)
    assert 800 < sum(len(body.encode()) for body in bodies) / len(bodies) < 1_200


@pytest.mark.parametrize(("cases", "directories"), [(0, 0), (0, 3), (1, 1), (5, 9), (40, 10)])
def test_small_trees(cases: int, directories: int):
    tree = Tree(cases, directories, seed=3)
    assert (len(tree.cases), len(tree.directories)) == (cases, directories)
    assert len(tree.expected()) == cases + directories


# ---- the API -------------------------------------------------------------------------------------------


async def test_pages_are_linked_in_both_directions():
    async with client() as sample:
        first = (await get(sample, "get_cases/1&limit=20&offset=0")).json()
        middle = (await sample.get(f"/index.php?{first['_links']['next']}")).json()
        last = (await get(sample, "get_cases/1&limit=20&offset=280")).json()
        beyond = (await get(sample, "get_cases/1&limit=20&offset=300")).json()
    assert first["_links"] == {"next": "/api/v2/get_cases/1&limit=20&offset=20", "prev": None}
    assert (middle["offset"], middle["limit"], middle["size"], middle["cases"][0]["id"]) == (20, 20, 20, 21)
    assert middle["_links"]["prev"] == "/api/v2/get_cases/1&limit=20&offset=0"
    assert last["_links"]["next"] is None and last["cases"][-1]["id"] == 300
    assert (beyond["size"], beyond["cases"], beyond["_links"]["next"]) == (0, [], None)


async def test_a_page_holds_less_than_asked_for():
    async with client() as sample:
        page = (await get(sample, "get_cases/1&suite_id=1&limit=250&offset=0")).json()
        assert (page["limit"], page["size"]) == (50, 50)
        assert page["_links"]["next"] == "/api/v2/get_cases/1&suite_id=1&limit=50&offset=50"
        assert [case["id"] for case in await everything(sample, "cases")] == list(range(1, 301))
        assert [section["id"] for section in await everything(sample, "sections")] == list(range(1, 61))


async def test_damaged_cases_are_served_and_not_expected():
    async with client(replace(SMALL, damaged=7)) as sample:
        titles = [case["title"] for case in await everything(sample, "cases")]
        assert [not title for title in titles] == [True] * 7 + [False] * 293
        found = (await sample.get("/_sample/expected")).json()
        assert {each["id"] for each in found if each["kind"] == "case"} == {str(id) for id in range(8, 301)}


async def test_single_records_are_those_of_the_pages():
    async with client() as sample:
        assert (await get(sample, "get_case/3")).json() == (await everything(sample, "cases"))[2]
        assert (await get(sample, "get_section/3")).json() == (await everything(sample, "sections"))[2]


@pytest.mark.parametrize(
    ("call", "status", "error"),
    [
        ("get_cases/2", 400, "Field :project_id is not a valid or accessible project."),
        ("get_cases/1&suite_id=2", 400, "Field :suite_id is not a valid test suite."),
        ("get_cases/1&limit=0", 400, "Field :limit"),
        ("get_cases/1&limit=many", 400, "Field :limit"),
        ("get_cases/1&offset=-1", 400, "Field :offset"),
        ("get_cases/1&section_id=1", 400, "Field :section_id is not supported"),
        ("get_cases/1?limit=5", 404, "Unknown method"),
        ("get_runs/1", 404, "Unknown method '/api/v2/get_runs/1'"),
        ("get_case/999", 400, "Field :case_id is not a valid case."),
    ],
)
async def test_refusals(call: str, status: int, error: str):
    async with client() as sample:
        answer = await get(sample, call)
    assert answer.status_code == status
    assert error in answer.json()["error"]


# ---- misbehaviour --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Bearer c2VjcmV0"}, 401),
        ({"Authorization": httpx.BasicAuth("me", "wrong")._auth_header}, 401),
        ({"Authorization": httpx.BasicAuth("me", "sec:ret")._auth_header}, 200),
    ],
)
async def test_the_password_is_asked_for(headers: dict[str, str], status: int):
    async with client(Settings(cases=1, directories=1, api_key="sec:ret")) as sample:
        answer = await sample.get("/index.php?/api/v2/get_cases/1", headers=headers)
    assert answer.status_code == status
    assert status == 200 or "Authentication failed" in answer.json()["error"]


async def test_more_requests_than_the_limit_have_to_wait():
    now = [100.0]
    async with client(Settings(cases=1, directories=1, rate_limit=2), clock=lambda: now[0]) as sample:
        statuses = [(await get(sample, "get_cases/1")).status_code for _ in range(2)]
        now[0] += 17.5
        refused = await get(sample, "get_cases/1")
        now[0] += int(refused.headers["retry-after"])
        again = await get(sample, "get_cases/1")
        stats = (await sample.get("/_sample/stats")).json()
    assert (*statuses, refused.status_code, again.status_code) == (200, 200, 429, 200)
    assert refused.headers["retry-after"] == "43"
    assert stats == {"requests": 4, "by_method": {"get_cases": 4}, "errors": 0, "throttled": 1}


async def test_the_same_requests_fail_every_time():
    async def failures(settings: Settings) -> list[int]:
        async with client(settings) as sample:
            statuses = [(await get(sample, "get_sections/1")).status_code for _ in range(200)]
            assert (await sample.get("/_sample/stats")).json()["errors"] == statuses.count(500)
        return [number for number, status in enumerate(statuses) if status == 500]

    flaky = Settings(cases=1, directories=1, error_rate=0.2)
    first = await failures(flaky)
    assert 20 < len(first) < 60
    assert first == await failures(flaky)
    assert first != await failures(Settings(cases=1, directories=1, error_rate=0.2, seed=2))


async def test_only_the_api_is_counted():
    async with client() as sample:
        await get(sample, "get_case/1")
        await change(sample, "update", kind="case", id=1)
        await sample.get("/_sample/expected")
        assert (await sample.get("/_sample/stats")).json()["by_method"] == {"get_case": 1}
        await sample.post("/_sample/reset_stats")
        assert (await sample.get("/_sample/stats")).json()["requests"] == 0


# ---- changes -------------------------------------------------------------------------------------------


async def test_added_records_are_listed_and_expected():
    async with client() as sample:
        directory = await change(sample, "add", kind="directory", parent_id=None, name="支付/退款", content="why")
        steps = [{"content": "open", "expected": "opened"}, {"content": "close"}]
        case = await change(sample, "add", kind="case", parent_id=str(directory["id"]), name="Refund", content=steps)
        assert (directory, case) == ({"kind": "directory", "id": 61}, {"kind": "case", "id": 301})
        section, served = (await everything(sample, "sections"))[-1], (await everything(sample, "cases"))[-1]
        held = await expected(sample)
    assert (section["name"], section["depth"], section["description"]) == ("支付/退款", 0, "why")
    assert (served["title"], served["section_id"]) == ("Refund", 61)
    assert served["custom_steps_separated"] == [steps[0], {"content": "close", "expected": ""}]
    assert held["case", "301"]["path"] == "/支付\\/退款/Refund"


async def test_an_update_changes_name_steps_and_date():
    async with client() as sample:
        before, held = (await get(sample, "get_case/5")).json(), await expected(sample)
        await change(sample, "update", kind="case", id="5", name="新的标题", content="look")
        await change(sample, "update", kind="directory", id=before["section_id"], name="moved out")
        after, holds = (await get(sample, "get_case/5")).json(), await expected(sample)
    assert after["updated_on"] > before["updated_on"]
    assert after["custom_steps_separated"] == [{"content": "look", "expected": ""}]
    assert holds["case", "5"]["path"].endswith("/moved out/新的标题")
    assert holds["case", "5"]["content_hash"] != held["case", "5"]["content_hash"]


async def test_a_move_changes_places_but_no_date():
    async with client() as sample:
        new = (await change(sample, "add", kind="directory", parent_id=None, name="archive"))["id"]
        before = (await get(sample, "get_case/5")).json()
        await change(sample, "move", kind="case", id=5, parent_id=new)
        await change(sample, "move", kind="directory", id=1, parent_id=new)
        after, sections = (await get(sample, "get_case/5")).json(), await everything(sample, "sections")
        held = await expected(sample)
    depths = {section["id"]: section["depth"] for section in sections} | {None: -1}
    assert after == before | {"section_id": new}
    assert held["case", "5"]["path"] == f"/archive/{before['title']}"
    assert all(section["depth"] == depths[section["parent_id"]] + 1 for section in sections)
    assert depths[1] == 1 and max(depths.values()) == 10


async def test_deleted_records_vanish_or_are_flagged():
    async with client() as sample:
        await change(sample, "delete", kind="case", id=1)
        await change(sample, "delete", kind="case", id=2, flag=True)
        cases, held = await everything(sample, "cases"), await expected(sample)
        assert [(case["id"], case["is_deleted"]) for case in cases[:2]] == [(2, 1), (3, 0)]
        assert ("case", "1") not in held and ("case", "2") not in held and ("case", "3") in held
        assert (await get(sample, "get_case/1")).status_code == 400
        assert (await change(sample, "add", kind="case", parent_id=1, name="new"))["id"] == 301


@pytest.mark.parametrize("flag", [False, True])
async def test_a_deleted_case_comes_back_as_it_was_and_dated_anew(flag):
    async with client() as sample:
        held = await expected(sample)
        await change(sample, "delete", kind="case", id=2, flag=flag)
        before = await everything(sample, "cases")
        assert await change(sample, "restore", kind="case", id=2) == {"kind": "case", "id": 2}
        cases = await everything(sample, "cases")
        paths = {key: each["path"] for key, each in (await expected(sample)).items()}
        assert paths == {key: each["path"] for key, each in held.items()}
        assert [case["id"] for case in cases[:3]] == [1, 2, 3]
        assert cases[1]["updated_on"] > max(case["updated_on"] for case in before if case["id"] != 2)
        assert (await change(sample, "add", kind="case", parent_id=1, name="new"))["id"] == 301


async def test_a_directory_comes_back_with_all_below_it_where_its_parent_is_now():
    async with client() as sample:
        held = await expected(sample)
        below = next(each["id"] for each in await everything(sample, "sections") if each["parent_id"] == 1)
        await change(sample, "delete", kind="directory", id=below)
        gone = held.keys() - (await expected(sample)).keys()
        assert {kind for kind, _ in gone} == {"case", "directory"}
        above = (await change(sample, "add", kind="directory", parent_id=None, name="archive"))["id"]
        await change(sample, "move", kind="directory", id=1, parent_id=above)
        await change(sample, "restore", kind="directory", id=below)
        assert held.keys() - (await expected(sample)).keys() == set()
        depths = {section["id"]: section["depth"] for section in await everything(sample, "sections")}
        assert (depths[1], depths[below]) == (1, 2)


async def test_a_directory_goes_with_all_below_it():
    async with client() as sample:
        tops = [section["id"] for section in await everything(sample, "sections") if section["parent_id"] is None]
        for top in tops:
            await change(sample, "delete", kind="directory", id=top)
        assert await everything(sample, "cases") == await everything(sample, "sections") == []
        assert await expected(sample) == {}


async def test_many_cases_change_at_once_and_always_the_same():
    async def changes() -> list:
        async with client() as sample:
            held, answers = await expected(sample), []
            for verb, more in (("update", {}), ("move", {}), ("add", {}), ("delete", {"flag": True}), ("delete", {})):
                answers.append((await change(sample, verb, count=20, **more))["changed"])
                holds = await expected(sample)
                touched = {key for key in held | holds if held.get(key) != holds.get(key)}
                assert touched == {("case", str(id)) for id in answers[-1]}
                held = holds
            return answers

    assert await changes() == await changes()


@pytest.mark.parametrize(
    ("verb", "body", "status", "error"),
    [
        ("add", {"kind": "case", "parent_id": None, "name": "x"}, 400, "A case needs a directory"),
        ("add", {"kind": "case", "parent_id": 999, "name": "x"}, 404, "There is no directory 999"),
        ("add", {"kind": "case", "parent_id": 1, "name": " "}, 400, "name"),
        ("add", {"kind": "suite", "parent_id": 1, "name": "x"}, 400, "kind"),
        ("add", {"kind": "directory", "parent_id": 1, "name": "x", "content": []}, 400, "no steps"),
        ("update", {"kind": "case", "id": 999}, 404, "There is no case 999"),
        ("update", {"kind": "case"}, 400, "id"),
        ("update", {"kind": "case", "id": 1, "titel": "x"}, 400, "titel"),
        ("update", {"count": 0}, 400, "count"),
        ("update", {"count": 999}, 400, "There are only 300 cases"),
        ("update", {"count": 1, "flag": True}, 400, "flag"),
        ("move", {"kind": "directory", "id": 1, "parent_id": 1}, 400, "below itself"),
        ("delete", {"kind": "directory", "id": 1, "flag": True}, 400, "cannot be flagged"),
        ("delete", [], 400, "JSON object"),
        ("restore", {"kind": "case", "id": 1}, 400, "No case 1 was deleted"),
        ("restore", {"kind": "directory", "id": 1}, 400, "No directory 1 was deleted"),
        ("restore", {"count": 1}, 400, "Name its kind and id"),
        ("remove", {}, 404, "add, update, move, delete, restore"),
    ],
)
async def test_changes_that_cannot_be(verb: str, body: object, status: int, error: str):
    async with client() as sample:
        before = (await sample.get("/_sample/expected")).content
        answer = await sample.post(f"/_sample/{verb}", json=body)
        after = (await sample.get("/_sample/expected")).content
    assert answer.status_code == status
    assert error in answer.json()["error"]
    assert after == before


async def test_a_body_that_is_no_json():
    async with client() as sample:
        answer = await sample.post("/_sample/update", content=b"{")
    assert (answer.status_code, "no JSON" in answer.json()["error"]) == (400, True)


# ---- what a collector finds ----------------------------------------------------------------------------


def hash_of(*fields: object) -> str:
    return hashlib.sha256(orjson.dumps(list(fields), option=orjson.OPT_SORT_KEYS)).hexdigest()


async def test_expected_written_out_by_hand():
    async with client(Settings(cases=1, directories=1, seed=2)) as sample:
        held = (await sample.get("/_sample/expected")).json()
    metadata = {"suite_id": 1, "display_order": 1}
    assert held[0] == {
        "kind": "directory",
        "id": "1",
        "path": "/Customer service",
        "content_hash": hash_of(None, "Customer service", {"description": ""}, metadata),
    }
    title = "Both balances are correct (last day of the month) - iOS"
    content = {
        "description": "",
        "preconditions": "There is a paid order over 442.89 of a guest.",
        "steps": [
            "Open the Transfers page as guest",
            "Enter the amount 442.89 and submit",
            "Submit once more under the condition: last day of the month",
            "Wait 15 minutes and reload the page",
            "Look up the details of Transfers",
            "Go back and enter Transfers again",
        ],
        "expectedResults": [
            "The page is complete within 3 seconds and shows no error",
            "It is accepted and the page shows 442.89",
            "The message is clear and nothing is stored twice",
            "The state is up to date and the time shown is right",
            "There is one new entry over 442.89 with the state succeeded",
            "The form is empty and sensitive data is masked",
        ],
    }
    metadata = {
        "tags": ["手工", "regression"],
        "priority": 2,
        "type_id": 4,
        "template_id": 2,
        "estimate": "2m",
        "created_by": 1,
        "created_on": 1731536000,
        "updated_by": 5,
        "updated_on": 1734668566,
    }
    assert held[1:] == [
        {
            "kind": "case",
            "id": "1",
            "path": f"/Customer service/{title}",
            "content_hash": hash_of("1", title, content, metadata),
        }
    ]


async def test_the_testrail_collector_finds_what_is_expected():
    transport = httpx.ASGITransport(application(SMALL))
    parameters = testrail.Parameters(base_url="http://sample", project_id=1, suite_id=1, username="me", api_key="x")
    async with Http("http://sample", Retry(), Pace(), **testrail.TestRail.connection(parameters)) as http:
        http._client = httpx.AsyncClient(transport=transport)
        collector = testrail.TestRail(parameters, http, page_size=250)
        found = {}
        for stage in await collector.survey():
            cursor = 0
            while cursor is not None:
                page = await collector.fetch(stage.name, {"start": 0, "stop": None}, cursor)
                records = [collector.map(stage.name, item) for item in page.items]
                found |= {(record.kind, record.id): record.content_hash for record in records}
                cursor = page.cursor
    async with client() as sample:
        assert found == {key: each["content_hash"] for key, each in (await expected(sample)).items()}


# ---- serving -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_served_until_a_signal(number: signal.Signals):
    program = (
        "from collectors.testing.sample import Settings, serve; serve(Settings(port=0, cases=1_000, directories=50))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            line = process.stdout.readline().decode()
            address = re.fullmatch(r"sample source: 1,000 cases in 50 directories at (http://127\.0\.0\.1:\d+)\n", line)
            page = httpx.get(f"{address[1]}/index.php?/api/v2/get_cases/1", trust_env=False).json()
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert page["size"] == 250
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"(?s){port} .*in use.* --port 0"):
            serve(Settings(port=port))


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"directories": 0}, {"error_rate": 2}, {"page_size": 0}, {"rate_limit": -1}, {"damaged": 20_001}],
)
def test_settings_that_cannot_work(wrong: dict[str, int]):
    with pytest.raises(Misconfigured, match=next(iter(wrong))):
        Settings(**wrong)
