"""Kiwi: mapping of rows as the server sends them, and whole sweeps of a real server, if KIWI_URL names one."""

import asyncio
import os
from collections import defaultdict

import httpx
import pytest

from collectors.errors import Misconfigured, Rejected
from collectors.models import Retry, Strategy
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.planning import plan
from collectors.sources.kiwi import Kiwi, _unescaped

KIWI_URL = os.environ.get("KIWI_URL", "")
live = pytest.mark.skipif(not KIWI_URL, reason="KIWI_URL names no server")

PLAN = {
    "id": 2,
    "name": "test___all__",
    "text": "",
    "create_date": "2026-11-21T23:24:21.015",
    "is_active": True,
    "extra_link": None,
    "product_version": 2,
    "product_version__value": "3.11",
    "product": 1,
    "product__name": "Python",
    "author": 2,
    "author__username": "collector",
    "type": 5,
    "type__name": "Acceptance",
    "parent": 1,
    "children__count": 1,
}
CASE = {
    "id": 17,
    "create_date": "2026-11-21T23:24:21.025",
    "is_automated": False,
    "script": None,
    "arguments": None,
    "extra_link": None,
    "summary": "test_all",
    "requirement": None,
    "notes": "flaky",
    "text": "def test_all(self):\n    pass",
    "case_status": 2,
    "case_status__name": "CONFIRMED",
    "category": 1,
    "category__name": "--default--",
    "priority": 1,
    "priority__value": "P1",
    "author": 2,
    "author__username": "collector",
    "default_tester": None,
    "default_tester__username": None,
    "reviewer": None,
    "reviewer__username": None,
    "setup_duration": None,
    "testing_duration": None,
    "expected_duration": 0.0,
}
GHERKIN = """**Scenario**: log in
  **Given** a user
  **When** the user logs in
  **And** waits
  **Then** the start page is shown
"""
ITEMIZED = """**Steps to reproduce**:

1. open the page
2. type
   the name

**Expected results**:

* a greeting
"""


@pytest.fixture
def anyio_backend():
    return "asyncio"


# ---- mapping -----------------------------------------------------------------------------------------------


def kiwi(url="http://kiwi.test", password="collector-pass", page_size=100, http=None):
    parameters = Kiwi.Parameters(base_url=url, username="collector", password=password)
    return Kiwi(parameters, http, page_size)


def case(plans=(5,), tags=(), **changes):
    return kiwi().map("cases", {"row": CASE | changes, "plans": list(plans), "tags": list(tags)})


def directory(**changes):
    return kiwi().map("directories", {"row": PLAN | changes, "tags": ["nightly"]})


def test_a_plan_becomes_a_directory():
    record = directory()
    assert (record.kind, record.id, record.parent_id, record.name) == ("directory", "2", "1", "test___all__")
    assert record.content == {"description": ""}
    assert record.metadata["tags"] == ["nightly"]
    assert (record.metadata["product"], record.metadata["version"], record.metadata["type"]) == (
        "Python",
        "3.11",
        "Acceptance",
    )
    assert record.source_version == 0


def test_a_plan_without_parent_is_a_root():
    assert directory(parent=None).parent_id is None


def test_a_case_lies_below_its_lowest_plan_and_names_the_others():
    record = case(plans=[5, 7, 12], tags=["slow", "smoke"])
    assert (record.kind, record.id, record.parent_id, record.name) == ("case", "17", "5", "test_all")
    assert record.metadata["plans"] == ["7", "12"]
    assert record.metadata["tags"] == ["slow", "smoke"]
    assert (record.metadata["priority"], record.metadata["status"], record.metadata["category"]) == (
        "P1",
        2,
        "--default--",
    )
    assert record.metadata["create_date"] == "2026-11-21T23:24:21.025"


def test_a_case_of_one_plan_and_a_case_of_none():
    assert (case().parent_id, case().metadata["plans"]) == ("5", [])
    assert (case(plans=[]).parent_id, case(plans=[]).metadata["plans"]) == (None, [])


def test_free_text_is_the_description():
    content = case().content
    assert content["description"] == "def test_all(self):\n    pass"
    assert (content["steps"], content["expectedResults"]) == ([], [])
    assert (content["notes"], content["script"]) == ("flaky", "")


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        (GHERKIN, ["the user logs in", "waits"], ["the start page is shown"]),
        (ITEMIZED, ["open the page", "type\nthe name"], ["a greeting"]),
        (ITEMIZED.replace("\n", "\r\n"), ["open the page", "type\nthe name"], ["a greeting"]),
        ("**Setup:**\nx\n**Actions:**\npress\n**Expected result:**\nbeep\n**Breakdown:**\ny", ["press"], ["beep"]),
    ],
)
def test_the_templates_of_kiwi_are_split(text, steps, expected):
    content = case(text=text).content
    assert (content["steps"], content["expectedResults"]) == (steps, expected)
    assert content["description"] == text


@pytest.mark.parametrize("mapped", [case, directory])
def test_a_row_without_id_is_refused(mapped):
    with pytest.raises(Rejected) as refused:
        mapped(id=None)
    assert (refused.value.reason, refused.value.record_id) == ("missing-id", None)


@pytest.mark.parametrize(("mapped", "field", "record_id"), [(case, "summary", "17"), (directory, "name", "2")])
def test_a_row_without_name_is_refused(mapped, field, record_id):
    with pytest.raises(Rejected) as refused:
        mapped(**{field: ""})
    assert (refused.value.reason, refused.value.record_id) == ("missing-name", record_id)


def test_text_is_what_its_author_wrote():
    assert _unescaped([{"text": "a &lt; b &amp;&amp; &quot;&amp;lt;&quot; &#x27;c&#x27;"}]) == [
        {"text": "a < b && \"&lt;\" 'c'"}
    ]


def test_the_headers_name_the_server_itself():
    parameters = Kiwi.Parameters(base_url="https://example.com:8443/kiwi/", username="u", password="p")
    assert Kiwi.connection(parameters) == {
        "headers": {"Referer": "https://example.com:8443/kiwi/", "Origin": "https://example.com:8443"},
        "secrets": ["p"],
    }


# ---- a real server -----------------------------------------------------------------------------------------


def connected(url=KIWI_URL, **settings):
    parameters = Kiwi.Parameters(base_url=url, username="collector", password="collector-pass")
    http = Http(url, Retry(attempts=1), Pace(), **Kiwi.connection(parameters))
    return http, kiwi(url, http=http, **settings)


async def pages(collector, stage, span):
    cursor = None
    while True:
        page = await collector.fetch(stage, span, cursor)
        yield page
        if (cursor := page.cursor) is None:
            return


async def swept(shard_size, page_size):
    http, collector = connected(page_size=page_size)
    records = defaultdict(list)
    async with http:
        for shard in plan(await collector.survey(), Strategy(shard_size=shard_size, page_size=page_size)):
            async for page in pages(collector, shard.stage, shard.span):
                assert shard.stage == "directories" or len(page.items) <= page_size
                records[shard.stage] += [collector.map(shard.stage, item) for item in page.items]
    return records["directories"], records["cases"]


def told(*calls):
    """The plain answers of the server, without the collector."""
    log_in = ("Auth.login", "collector", "collector-pass")
    body = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        for number, (method, *parameters) in enumerate([log_in, *calls], 1)
    ]
    replies = httpx.post(f"{KIWI_URL}/json-rpc/", json=body, timeout=60, trust_env=False).json()
    return [reply["result"] for reply in replies[1:]]


@live
@pytest.mark.parametrize(("shard_size", "page_size"), [(10_000, 250), (400, 100), (1, 1_000)])
async def test_a_sweep_reads_every_plan_and_case_once(shard_size, page_size):
    directories, cases = await swept(shard_size, page_size)
    expected_plans, expected_cases = told(("TestPlan.filter", {}), ("TestCase.filter", {}))
    assert sorted(int(record.id) for record in directories) == sorted(row["id"] for row in expected_plans)
    assert sorted(int(record.id) for record in cases) == sorted(row["id"] for row in expected_cases)


@live
@pytest.mark.parametrize(("stage", "of"), [("directories", 0), ("cases", 1)])
async def test_records_that_are_asked_for_by_id_are_those_a_sweep_reads(stage, of):
    wanted = (await swept(10_000, 250))[of][:5]
    http, collector = connected()
    async with http:
        page = await collector.fetch_ids(stage, [record.id for record in wanted])
    found = {record.id: record for record in (collector.map(stage, item) for item in page.items)}
    assert [found[record.id] for record in wanted] == wanted


@live
@pytest.mark.parametrize(("kind", "of"), [("directory", 0), ("case", 1)])
async def test_what_is_there_and_what_is_gone_is_told(kind, of):
    there = [record.id for record in (await swept(10_000, 250))[of][:3]]
    http, collector = connected()
    async with http:
        assert await collector.exist(kind, [*there, "99999999"]) == dict.fromkeys(there, True) | {"99999999": False}


@live
async def test_every_case_lies_where_the_server_says():
    directories, cases = await swept(10_000, 250)
    ids = sorted(int(record.id) for record in directories)
    placed = defaultdict(list)
    for plan_id, sortkeys in zip(ids, told(*(("TestCase.sortkeys", {"plan": i}) for i in ids)), strict=True):
        for case_id in sortkeys:
            placed[case_id].append(str(plan_id))
    found = {record.id: [record.parent_id, *record.metadata["plans"]] for record in cases}
    assert found == {record.id: placed[record.id] or [None] for record in cases}


@live
async def test_every_tag_is_found():
    directories, cases = await swept(10_000, 250)
    (tags,) = told(("Tag.filter", {}))
    for key, records in (("plan", directories), ("case", cases)):
        expected = {(str(row[key]), row["name"]) for row in _unescaped(tags) if row[key]}
        assert {(record.id, tag) for record in records for tag in record.metadata["tags"]} == expected


@live
async def test_a_session_that_has_ended_is_begun_again_once():
    http, collector = connected()
    async with http:
        await collector.survey()
        await http.post("/json-rpc/", [{"jsonrpc": "2.0", "id": 1, "method": "Auth.logout", "params": []}])
        span = {"keys": ["0-100"]}
        first, second = await asyncio.gather(*(collector.fetch("cases", span, None) for _ in range(2)))
        assert first == second
        assert first.items
        assert collector._log_ins == 2


@live
async def test_a_wrong_password_is_named():
    http, collector = connected(password="wrong")
    async with http:
        with pytest.raises(Misconfigured, match="refused to log in collector"):
            await collector.survey()


@live
async def test_an_error_of_the_server_is_no_empty_answer():
    http, collector = connected()
    async with http:
        with pytest.raises(Misconfigured, match="Method not found"):
            await collector._ask([("TestPlan.filter", [{}]), ("Nothing.filter", [{}])])
