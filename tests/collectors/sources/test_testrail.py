"""TestRail: exact surveys and complete sweeps of the sample source, odd servers refused or read whole, the mapping."""

import math
import re
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from collectors.errors import Misconfigured, Rejected
from collectors.models import Keys, Offsets, Strategy
from collectors.planning import pinned, plan
from collectors.reading import sift
from collectors.sources import testrail
from collectors.testing.sample import Settings, application

PAGE = 250
ENOUGH = 400  # requests after which a scripted server refuses, so that a search without an end fails instead


def made(url: str, http, page_size: int = PAGE, **more):
    parameters = testrail.Parameters(base_url=url, project_id=1, username="reader", api_key="secret", **more)
    return testrail.TestRail(parameters, http, page_size)


@pytest.fixture
def sampled(served, open_http):
    """A collector of a real sample source, and the client it asks with."""

    @asynccontextmanager
    async def opened(size: int, server_pages: int = PAGE, page_size: int = PAGE):
        settings = Settings(cases=size, directories=size, page_size=server_pages)
        with served(application(settings)) as url:
            async with open_http(url) as http:
                yield made(url, http, page_size), http

    return opened


@pytest.fixture
def odd(scripted, open_http, reply):
    """A collector of a server that answers as `answer(stage, limit, offset)` says."""

    @asynccontextmanager
    async def opened(answer, page_size: int = 3):
        def play(asked):
            if len(server.asked) > ENOUGH:
                return reply({"error": "enough"}, 404)
            found = re.search(r"get_(\w+)/1.*&limit=(\d+)&offset=(\d+)$", asked.target)
            return reply(answer(found[1], int(found[2]), int(found[3])))

        async with scripted(play) as server, open_http(server.url) as http:
            yield made(server.url, http, page_size), server

    return opened


async def swept(collector, stage: str, span: dict) -> list:
    """All pages of a span, as a reader asks for them."""
    items, cursor = [], None
    while True:
        page = await collector.fetch(stage, span, cursor)
        items += page.items
        assert page.cursor is None or page.cursor != cursor
        cursor = page.cursor
        if cursor is None:
            return items


async def read_whole(collector, shard_size: int, page_size: int = PAGE) -> Counter:
    """How often each record came, over all shards of the plan."""
    found = Counter()
    for shard in plan(await collector.survey(), Strategy(shard_size=shard_size, page_size=page_size)):
        for item in await swept(collector, shard.stage, shard.span):
            found[shard.stage, item["id"]] += 1
    return found


def once(size: int) -> Counter:
    return Counter({(stage, id): 1 for stage in ("directories", "cases") for id in range(1, size + 1)})


# ---- the sample source -----------------------------------------------------------------------------------


@pytest.mark.parametrize("server_pages", [PAGE, 100], ids=["full pages", "smaller pages"])
@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 500, 1000])
async def test_a_survey_counts_exactly(sampled, size, server_pages):
    async with sampled(size, server_pages) as (collector, _):
        stages = await collector.survey()
    assert [(stage.name, stage.extent) for stage in stages] == [
        ("directories", Offsets(total=size)),
        ("cases", Offsets(total=size)),
    ]


@pytest.mark.parametrize("pages", [1, 30, 1_000])
async def test_a_survey_takes_two_requests_for_each_doubling_of_the_source(sampled, pages):
    async with sampled(pages, server_pages=1, page_size=1) as (collector, http):
        assert [stage.total for stage in await collector.survey()] == [pages, pages]
        asked = (await http.get("/_sample/stats"))["by_method"]
    assert max(asked.values()) <= 2 * math.ceil(math.log2(pages)) + 4


@pytest.mark.parametrize(("size", "server_pages"), [(1, 250), (250, 250), (251, 250), (1_000, 250), (1_000, 100)])
async def test_all_shards_together_read_everything_exactly_once(sampled, size, server_pages):
    async with sampled(size, server_pages) as (collector, _):
        for shard_size in (1, 300, 500, 10_000):
            assert await read_whole(collector, shard_size) == once(size), shard_size


async def test_pages_that_do_not_divide_a_shard_lose_and_double_nothing(sampled):
    async with sampled(500, server_pages=7, page_size=30) as (collector, _):
        assert await read_whole(collector, 100, page_size=30) == once(500)


async def test_records_added_after_the_survey_are_read_by_the_last_shard(sampled):
    async with sampled(300) as (collector, http):
        shards = plan(await collector.survey(), Strategy(shard_size=100, page_size=PAGE))
        await http.post("/_sample/add", {"count": 400})
        spans = [shard.span for shard in shards if shard.stage == "cases"]
        found = [item["id"] for span in spans for item in await swept(collector, "cases", span)]
    assert found == list(range(1, 701))


async def test_the_survey_and_every_page_name_project_and_suite(scripted, open_http, reply):
    empty = reply({"offset": 0, "sections": [], "cases": []})
    async with scripted(empty) as server, open_http(server.url) as http:
        await made(server.url, http).survey()
        await made(server.url, http, suite_id=7).fetch("cases", {"start": 0, "stop": 2}, None)
    assert [asked.target for asked in server.asked] == [
        "/index.php?/api/v2/get_sections/1&limit=1&offset=0",
        "/index.php?/api/v2/get_cases/1&limit=1&offset=0",
        "/index.php?/api/v2/get_cases/1&suite_id=7&limit=2&offset=0",
    ]


def test_user_and_key_are_sent_as_the_client_asks_for_them():
    parameters = testrail.Parameters(base_url="http://a.test", project_id=1, username="reader", api_key="k")
    assert testrail.TestRail.connection(parameters) == {"auth": ("reader", "k")}


# ---- servers that answer with a bare list ----------------------------------------------------------------


def numbered(start: int, stop: int) -> list[dict]:
    return [{"id": number} for number in range(start, stop)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1_000])
async def test_a_server_without_paging_is_read_in_one_request_a_stage(odd, size):
    async with odd(lambda stage, limit, offset: numbered(0, size)) as (collector, server):
        stages = await collector.survey()
        assert [stage.total for stage in stages] == [size, size]
        asked = len(server.asked)
        found = await read_whole(collector, shard_size=2, page_size=3)
    assert found == Counter({(stage, id): 1 for stage in ("directories", "cases") for id in range(size)})
    assert asked <= 6


async def test_a_list_without_paging_is_one_shard(odd):
    async with odd(lambda stage, limit, offset: numbered(0, 50)) as (collector, _):
        stages = await collector.survey()
    assert [stage.extent for stage in stages] == [Keys(weights=(("all", 50),))] * 2


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6, 30])
async def test_bare_lists_with_paging_are_read_whole(odd, size):
    everything = Counter({(stage, id): 1 for stage in ("directories", "cases") for id in range(size)})
    async with odd(lambda stage, limit, offset: numbered(offset, min(offset + limit, size))) as (collector, _):
        assert [stage.total for stage in await collector.survey()] == [size, size]
        for shard_size in (1, 5, 1_000):
            assert await read_whole(collector, shard_size, page_size=3) == everything, shard_size


@pytest.mark.parametrize("linked", [False, True], ids=["bare", "envelope"])
@pytest.mark.parametrize("served", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 6, 31])
async def test_a_server_that_takes_its_own_page_size_is_read_whole(odd, size, served, linked):
    def answer(stage, limit, offset):
        items = numbered(offset, min(offset + served, size))
        following = f"x&offset={offset + served}" if offset + served < size else None
        return envelope(stage, items, following) if linked else items

    everything = Counter({(stage, id): 1 for stage in ("directories", "cases") for id in range(size)})
    async with odd(answer) as (collector, _):
        assert [stage.total for stage in await collector.survey()] == [size, size]
        for shard_size in (1, 5, 1_000):
            assert await read_whole(collector, shard_size, page_size=3) == everything, shard_size


async def test_a_link_to_more_from_a_server_that_ignores_the_offset_is_refused(odd):
    async with odd(lambda stage, limit, offset: envelope(stage, numbered(0, 3), "x&offset=99999")) as (collector, _):
        with pytest.raises(Misconfigured, match="ignores the offset"):
            await collector.survey()


async def test_a_list_that_heeds_the_limit_but_not_the_offset_is_refused(odd):
    """It would be read for ever: every page looks full."""
    async with odd(lambda stage, limit, offset: numbered(0, limit)) as (collector, server):
        with pytest.raises(Misconfigured, match="offset"):
            await collector.survey()
    assert len(server.asked) < ENOUGH


# ---- servers that answer with envelopes ------------------------------------------------------------------


def envelope(stage: str, items: list, following: str | None = None, **more) -> dict:
    return {stage: items, "_links": {"next": following}} | more


OPEN = {"start": 0, "stop": None}


async def test_an_empty_page_with_a_next_link_is_not_the_end(odd):
    pages = {0: (numbered(0, 3), 3), 3: ([], 6), 6: (numbered(6, 8), None)}

    def answer(stage, limit, offset):
        items, following = pages[offset]
        return envelope(stage, items, following and f"/api/v2/get_{stage}/1&limit={limit}&offset={following}")

    async with odd(answer) as (collector, _):
        assert [item["id"] for item in await swept(collector, "cases", OPEN)] == [0, 1, 2, 6, 7]


async def test_the_next_link_decides_where_the_next_page_begins(odd):
    """A server that serves fewer records than asked for says so only there."""

    def answer(stage, limit, offset):
        return envelope(stage, numbered(offset, offset + 1), f"x&offset={offset + 1}")

    async with odd(answer) as (collector, server):
        found = await swept(collector, "cases", {"start": 4, "stop": 7})
    assert [item["id"] for item in found] == [4, 5, 6]
    assert [re.findall(r"=(\d+)", asked.target) for asked in server.asked] == [["3", "4"], ["2", "5"], ["1", "6"]]


@pytest.mark.parametrize("links", [{}, {"_links": None}, {"_links": {}}, {"_links": {"next": ""}}])
async def test_without_a_next_link_the_page_is_the_last(odd, links):
    async with odd(lambda stage, limit, offset: {stage: numbered(0, 3)} | links) as (collector, _):
        assert (await collector.fetch("cases", OPEN, None)).cursor is None


async def test_an_absolute_next_link_to_the_same_host_is_followed(odd):
    async with odd(lambda stage, limit, offset: envelope(stage, [], f"{server.url}/index.php?/api/v2/x&offset=3")) as (
        collector,
        server,
    ):
        assert (await collector.fetch("cases", OPEN, None)).cursor == 3


@pytest.mark.parametrize(
    "link",
    [
        "http://elsewhere.test/index.php?/api/v2/get_cases/1&offset=3",
        "https://127.0.0.1/x?offset=3",
        "http://[/?offset=3",
    ],
)
async def test_a_next_link_to_another_host_is_refused(odd, link):
    async with odd(lambda stage, limit, offset: envelope(stage, numbered(0, 3), link)) as (collector, server):
        with pytest.raises(Misconfigured, match="another host"):
            await collector.fetch("cases", OPEN, None)
    assert len(server.asked) == 1


@pytest.mark.parametrize("link", ["x&offset=3", "x&offset=2", "x&offset=0", "x&limit=3", "x&offset=", "x&offset=-9"])
async def test_a_next_link_that_leads_nowhere_new_is_refused(odd, link):
    async with odd(lambda stage, limit, offset: envelope(stage, numbered(0, 3), link)) as (collector, _):
        with pytest.raises(Misconfigured, match="nowhere new"):
            await collector.fetch("cases", OPEN, 3)


async def test_a_server_that_ignores_the_offset_is_refused(odd):
    async with odd(lambda stage, limit, offset: envelope(stage, numbered(0, limit), offset=0)) as (collector, _):
        with pytest.raises(Misconfigured, match="ignores the offset"):
            await collector.survey()
        with pytest.raises(Misconfigured, match="ignores the offset"):
            await collector.fetch("cases", OPEN, 3)


@pytest.mark.parametrize("answer", [{}, {"cases": None}, {"cases": {}}, "text", 7, None, {"error": "x"}])
async def test_something_else_than_records_is_refused(odd, answer):
    async with odd(lambda stage, limit, offset: answer) as (collector, _):
        with pytest.raises(Misconfigured, match="does not answer like TestRail: no list of cases"):
            await collector.fetch("cases", OPEN, None)


async def test_a_wrong_key_is_told_by_the_survey(served, open_http):
    with served(application(Settings(cases=1, directories=1, api_key="right"))) as url:
        async with open_http(url, auth=("reader", "wrong-key")) as http:
            with pytest.raises(Misconfigured, match="refused the credentials") as caught:
                await made(url, http).survey()
    assert "wrong-key" not in str(caught.value)


# ---- parameters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"project_id": 0}, {"suite_id": 0}, {"base_url": "a.test"}, {"unknown": 1}])
def test_parameters_that_cannot_work_are_refused(wrong):
    good = {"base_url": "http://a.test", "project_id": 1, "username": "u", "api_key": "k"}
    with pytest.raises(ValueError):
        testrail.Parameters(**good | wrong)


# ---- mapping ---------------------------------------------------------------------------------------------

SECTION = {"id": 3, "suite_id": 1, "name": "退款", "description": None, "parent_id": 2, "display_order": 5, "depth": 1}
CASE = {"id": 17, "title": "Refund twice", "section_id": 3, "updated_on": 1_700_000_000, "priority_id": 2}


def mapped(stage: str, item):
    return testrail.TestRail.map(None, stage, item)


def case(**fields):
    return mapped("cases", CASE | fields)


def test_a_section_becomes_a_directory():
    record = mapped("directories", SECTION | {"description": "all of it"})
    assert (record.kind, record.id, record.parent_id, record.name) == ("directory", "3", "2", "退款")
    assert record.content == {"description": "all of it"}
    assert record.metadata == {"suite_id": 1, "display_order": 5}
    assert (record.source_version, record.deleted) == (0, False)


@pytest.mark.parametrize("parent", [None, 0])
def test_a_section_without_a_parent_is_at_the_top(parent):
    assert mapped("directories", SECTION | {"parent_id": parent}).parent_id is None
    assert mapped("directories", {"id": 1, "name": "x"}).parent_id is None


def test_a_case_carries_what_the_source_says():
    record = case(
        custom_preconds="signed in",
        custom_mission="find out",
        labels=[{"id": 1, "title": "smoke"}, "plain"],
        type_id=3,
        refs="PAY-1",
        estimate=None,
        created_on=1_600_000_000,
        display_order=9,
    )
    assert (record.kind, record.id, record.parent_id, record.name) == ("case", "17", "3", "Refund twice")
    assert record.content == {
        "description": "find out",
        "preconditions": "signed in",
        "steps": [],
        "expectedResults": [],
    }
    assert record.metadata == {
        "tags": ["smoke", "plain"],
        "priority": 2,
        "type_id": 3,
        "refs": "PAY-1",
        "created_on": 1_600_000_000,
        "updated_on": 1_700_000_000,
    }
    assert record.source_version == 1_700_000_000


def steps(**fields) -> tuple:
    content = case(**fields).content
    return content["steps"], content["expectedResults"]


SEPARATED = [{"content": "open", "expected": "it opens"}, {"content": None}, {"expected": "done"}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"custom_steps_separated": SEPARATED}, (["open", "", ""], ["it opens", "", "done"])),
        ({"custom_steps": "1. open\n2. close", "custom_expected": "done"}, (["1. open\n2. close"], ["done"])),
        ({"custom_steps": "open"}, (["open"], [])),
        ({"custom_steps_separated": [], "custom_steps": "open", "custom_expected": "done"}, (["open"], ["done"])),
        ({"custom_steps_separated": SEPARATED[:1], "custom_steps": "old"}, (["open"], ["it opens"])),
        ({"custom_steps_separated": None, "custom_steps": None}, ([], [])),
    ],
)
def test_steps_of_both_templates_are_told_apart(fields, expected):
    assert steps(**fields) == expected


def test_other_custom_fields_are_kept_and_empty_ones_are_not():
    record = case(custom_automation=0, custom_browser=["x", "y"], custom_note="", custom_none=None, custom_steps="open")
    assert record.content["custom"] == {"custom_automation": 0, "custom_browser": ["x", "y"], "custom_note": ""}
    assert "custom" not in case(custom_none=None).content


def test_an_unknown_field_of_the_source_changes_nothing():
    assert case(brand_new_field=1) == case()


@pytest.mark.parametrize("mark", ["false", "no", 2, [], {}])
def test_a_deletion_mark_that_is_no_flag_is_refused(mark):
    with pytest.raises(Rejected) as refused:
        case(is_deleted=mark)
    assert (refused.value.reason, refused.value.record_id) == ("invalid-deleted", "17")


def test_steps_in_one_text_are_kept_beside_separated_ones():
    kept = case(custom_steps_separated=SEPARATED[:1], custom_steps="old", custom_expected=None).content["custom"]
    assert kept == {"custom_steps": "old"}


@pytest.mark.parametrize(("flag", "deleted"), [(1, True), (True, True), (0, False), (False, False), (None, False)])
def test_the_deleted_flag_is_honoured(flag, deleted):
    assert case(is_deleted=flag).deleted is deleted
    assert case().deleted is False


@pytest.mark.parametrize(("id", "kept"), [(17, "17"), ("17", "17"), ("C17", "C17"), (0, "0"), (2**62, str(2**62))])
def test_ids_may_be_numbers_or_text(id, kept):
    assert case(id=id).id == kept
    assert mapped("directories", SECTION | {"id": id}).id == kept


WRONG_IDS = [None, 1.0, 1.5, True, False, "", [], {}, [1]]


@pytest.mark.parametrize("id", WRONG_IDS, ids=repr)
@pytest.mark.parametrize(("stage", "item"), [("cases", CASE), ("directories", SECTION)], ids=["case", "directory"])
def test_an_id_of_another_kind_is_refused(stage, item, id):
    with pytest.raises(Rejected) as caught:
        mapped(stage, item | {"id": id})
    assert caught.value.reason == "missing-id"


@pytest.mark.parametrize("stage", ["cases", "directories"])
@pytest.mark.parametrize("item", [{}, None, [], "x", 7, {"title": "x", "name": "x"}], ids=repr)
def test_what_has_no_id_is_refused(stage, item):
    with pytest.raises(Rejected) as caught:
        mapped(stage, item)
    assert caught.value.reason == "missing-id"


@pytest.mark.parametrize("parent", [1.0, 1.5, True, False, 0.0, "", [1]], ids=repr)
def test_a_parent_of_another_kind_is_refused(parent):
    with pytest.raises(Rejected):
        case(section_id=parent)
    with pytest.raises(Rejected):
        mapped("directories", SECTION | {"parent_id": parent})


@pytest.mark.parametrize("title", [None, "", "  ", "\n", 7, ["x"]], ids=repr)
def test_a_case_or_section_without_a_title_is_refused_under_its_id(title):
    for stage, item in (("cases", CASE | {"title": title}), ("directories", SECTION | {"name": title, "id": 17})):
        with pytest.raises(Rejected) as caught:
            mapped(stage, item)
        assert (caught.value.reason, caught.value.record_id) == ("missing-name", "17")


def test_a_missing_title_is_refused():
    with pytest.raises(Rejected, match="title"):
        mapped("cases", {"id": 1, "section_id": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"custom_steps_separated": ["no object"]},
        {"custom_steps_separated": 7},
        {"labels": [{"id": 1}]},
        {"labels": 7},
        {"updated_on": "yesterday"},
        {"updated_on": -1},
        {"updated_on": 1.5},
        {"id": "x" * 300},
    ],
    ids=repr,
)
def test_a_malformed_case_is_set_aside_and_its_neighbours_are_kept(wrong):
    class Mapping:
        map = staticmethod(mapped)

    records, (refused,) = sift(Mapping, "cases", [CASE | {"id": 1}, CASE | wrong, CASE | {"id": 2}])
    assert [record.id for record in records] == ["1", "2"]
    assert refused.position == 1


# ---- lists that move ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 2, 4])
async def test_a_list_in_no_order_is_read_whole_and_known_to_be_in_doubt(odd, page_size):
    ids = [1, 9, 2, 3, 5, 6, 7, 8, 10, 11]
    rows = [{"id": id} for id in ids]
    async with odd(lambda stage, limit, offset: rows[offset : offset + limit], page_size) as (collector, _):
        plans = await pinned(collector, plan(await collector.survey(), Strategy(shard_size=4, page_size=page_size)))
        spans = [shard.span for shard in plans if shard.stage == "cases"]
        assert [span["end"] for span in spans] == [5, 10, None]
        pages = [[page async for page in pages_of(collector, span)] for span in spans]
    assert {item["id"] for shard in pages for page in shard for item in page.items} == set(ids)
    assert [all(page.whole for page in shard) for shard in pages] == [False, True, True]


async def pages_of(collector, span):
    cursor, more = None, True
    while more:
        page = await collector.fetch("cases", span, cursor)
        yield page
        cursor, more = page.cursor, page.cursor is not None


async def test_what_moved_far_to_the_front_is_found_however_far(odd, monkeypatch):
    """Page by page back to where it stands now."""
    monkeypatch.setitem(globals(), "ENOUGH", 5_000)
    span = {"start": 0, "stop": None, "first": None, "end": None}
    async with odd(lambda stage, limit, offset: numbered(5_000 + offset, 5_000 + offset + limit), 1) as (collector, _):
        page = await collector.fetch("cases", span, [1_200, 1_000])
    assert page.items[0]["id"] == 5_000


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([3, 4, 5], ([4, 5], True)),  # it is where it was
        ([2, 4, 5], ([4, 5], True)),  # it is gone, and nothing else moved
        ([5, 6], (None, True)),  # what was passed over stands further in front
        ([], (None, True)),
        ([9, 2, 5], ([2, 5], False)),  # in no order nobody can tell
    ],
)
def test_what_follows_a_record_is_found_or_known_to_be_in_doubt(numbers, found):
    items, whole = testrail._after([{"id": number} for number in numbers], 3)
    assert (items and [item["id"] for item in items], whole) == found
