"""Hostile answers read into the real stores: a clear reason each, nothing lost, the neighbours applied."""

import asyncio
import gzip
import json
import re
import tracemalloc
import zlib
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote_plus

import orjson
import pytest

from collectors import outbound
from collectors.errors import Misconfigured, Transient
from collectors.models import Collection
from collectors.reading import Reader, sift
from collectors.registry import connected
from collectors.sources import kiwi, testrail
from collectors.states import ShardState

SECRET = "s3cr3t-k3y/+ü"
PAGE = 3


def case(id: int | str, **fields) -> dict:
    return {"id": id, "title": f"case {id}"} | fields


def page(*records: bytes, following: int | None = None) -> bytes:
    link = b'"/api/v2/get_cases/1&offset=%d"' % following if following else b"null"
    return b'{"offset":0,"_links":{"next":' + link + b'},"cases":[' + b",".join(records) + b"]}"


def record(id: int | str, **fields) -> bytes:
    return orjson.dumps(case(id, **fields))


def at(offset: int, *records: bytes, following: int | None = None) -> bytes:
    return page(*records, following=following).replace(b'"offset":0', b'"offset":%d' % offset, 1)


@pytest.fixture
def read(begin, storage, shelves, scripted, open_http, reply):
    """Reads the cases of a server that plays the bodies in turn; gives the run, the stored cases and the server."""

    async def done(*bodies, timeout: float = 60.0, **strategy):
        run = begin(**strategy)
        answers = [body if callable(body) or body[:4] == b"HTTP" else reply(body) for body in bodies]
        async with scripted(*answers) as server, open_http(server.url, timeout=timeout) as http:
            parameters = testrail.Parameters(base_url=server.url, project_id=1, username="reader", api_key=SECRET)
            collector = testrail.TestRail(parameters, http, PAGE)
            claim = replace(run.claim(), span={"start": 0, "stop": None})
            await Reader(run.definition, collector, storage.shards, storage.queue, 60.0).read(claim)
        shelf = shelves(collection="c")
        rows = shelf.rows()
        assert {id: shelf.document(id).name for id in rows} == {id: row["name"] for id, row in rows.items()}
        return run, shelf, server

    return done


def refused(run) -> list[tuple]:
    found = run.storage.quarantine.records(run.run_id)
    return sorted((each["position"], each["reason"], each["record_id"], each["message"]) for each in found)


# ---- records ---------------------------------------------------------------------------------------------

HOSTILE = {
    "NaN": (b'{"id":7,"title":"t","estimate":NaN}', "not-a-number", "COL-0506", b"NaN"),
    "infinity": (b'{"id":7,"title":"t","estimate":-Infinity}', "not-a-number", "COL-0506", b"-Infinity"),
    "1e999": (b'{"id":7,"title":"t","estimate":1e999}', "not-a-number", "COL-0506", b"1e999"),
    "half a pair": (b'{"id":7,"title":"t \\ud800"}', "broken-text", "COL-0505", b"ud800"),
    "no UTF-8": (b'{"id":7,"title":"caf\xe9"}', "broken-text", "COL-0505", b"caf"),
    "a huge integer": (b'{"id":7,"title":"t","x":18446744073709551616}', "huge-number", "COL-0507", b"18446744"),
    "a key twice": (b'{"id":7,"title":"first","title":"second"}', "repeated-key", "COL-0508", b'["first","second"]'),
    "deep": (b'{"id":7,"title":"t","custom_x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too-deep", "COL-0509", b"[[["),
    "a title of a megabyte": (record(7, title="x" * 2**20), "invalid-name", "COL-0503", b"xxx"),
    "a long id": (record("7" * 256), "invalid-id", "COL-0503", b"777"),
    "NUL in the id": (b'{"id":"7\\u0000","title":"t"}', "invalid-id", "COL-0503", b"7\\u0000"),
    "NUL in the parent": (record(7, section_id="\0"), "invalid-parent_id", "COL-0503", b"u0000"),
    "an id that is no text": (b'{"id":"\\udfff","title":"t"}', "broken-text", "COL-0505", b"udfff"),
    "a list": (b"[[[]]]", "missing-id", "COL-0501", b"[[[]]]"),
    "no title": (b'{"id":7,"title":"\\n"}', "missing-name", "COL-0502", b"\\n"),
    "a word for a step": (record(7, custom_steps_separated=["x"]), "malformed", "COL-0504", b'"x"'),
}  # fmt: skip


@pytest.mark.parametrize(("hostile", "reason", "code", "shown"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_record_is_quarantined_and_its_neighbours_are_applied(read, hostile, reason, code, shown):
    run, shelf, _ = await read(at(0, record(1), hostile, record(9), following=3), at(3, record(11)))
    assert run.shard()["error"] is None
    assert set(shelf.rows()) == {"1", "9", "11"}
    ((position, found, record_id, message),) = refused(run)
    assert (position, found) == (1, reason)
    assert record_id in (None, "7")
    assert message.startswith(f"{code}: ")
    (kept,) = run.storage.quarantine.records(run.run_id)
    assert shown in kept["payload"]


@pytest.mark.parametrize("id", [b'""', b"[7]", b"true", b"7.0", b'"7\\u0000"', b"null", b'"' + b"7" * 256 + b'"'])
async def test_a_refused_record_has_no_id_that_was_made_up(read, id):
    """Under another name the real record would be missing, and be deleted."""
    run, _, _ = await read(page(b'{"id":%b,"title":"t"}' % id))
    ((_, _, record_id, _),) = refused(run)
    assert record_id is None


async def test_odd_but_lawful_records_are_stored_exactly(read):
    odd = {"$where": "$gt", "a.b": {"$": "$x", "": [None, -0.0, 2**63 - 1, "\u2028\ufeff\x7f\0"]}, "__proto__": {}}
    written = orjson.dumps(case(1, title="a\0b\x1b[31m", custom_odd=odd, labels=["$x", "="]))
    run, shelf, _ = await read(page(written, record(2)))
    assert refused(run) == []
    assert shelf.rows()["1"]["name"] == "a\0b\x1b[31m"
    document = shelf.document("1")
    assert repr(document.content["custom"]["custom_odd"]) == repr(odd)
    assert document.metadata["tags"] == ["$x", "="]


def kiwi_server(reply, plans: bytes, cases: bytes):
    """Answers whatever is called, with these rows for plans and cases."""
    rows = {"Auth.login": b'"session"', "TestPlan.filter": plans, "TestCase.filter": cases, "TestCase.sortkeys": b"{}"}

    def play(asked):
        calls = orjson.loads(asked.body)
        answers = [b'{"id":%d,"result":%s}' % (call["id"], rows.get(call["method"], b"[]")) for call in calls]
        return reply(b"[" + b",".join(answers) + b"]")

    return play


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"id":7,"summary":"t","notes":"\\ud800"}', "broken-text"),
        (b'{"id":7,"summary":"a","summary":"b"}', "repeated-key"),
        (b'{"id":NaN,"summary":"t"}', "not-a-number"),
        (b'{"id":[7],"summary":"t"}', "missing-id"),
        (b"null", "malformed"),
    ],
)
async def test_a_hostile_row_of_kiwi_is_quarantined_too(scripted, open_http, reply, row, reason):
    good = b'{"id":%d,"summary":"s","text":"&lt;"}'
    server = kiwi_server(reply, b"[]", b"[" + b",".join([good % 1, row, good % 9]) + b"]")
    async with scripted(server) as source, open_http(source.url) as http:
        parameters = kiwi.Parameters(base_url=source.url, username="u", password="p")
        collector = kiwi.Kiwi(parameters, http, 100)
        page = await collector.fetch("cases", {"keys": ["0-100"]}, None)
    records, (refused,) = sift(collector, "cases", page.items)
    assert [record.id for record in records] == ["1", "9"]
    assert refused.reason == reason


async def test_a_damaged_answer_of_kiwi_is_tried_again(scripted, open_http, reply):
    server = kiwi_server(reply, b'{"a":1,"a":2}', b"[]")
    async with scripted(server) as source, open_http(source.url) as http:
        parameters = kiwi.Parameters(base_url=source.url, username="u", password="p")
        with pytest.raises(Transient, match="COL-0313"):
            await kiwi.Kiwi(parameters, http, 100).fetch("directories", {"keys": ["all"]}, None)
    assert len(source.asked) == 3


async def test_kiwi_never_repeats_the_password(scripted, open_http, reply):
    said = reply([{"id": 1, "error": {"code": -32603, "message": f"Wrong password {SECRET} &lt;"}}])
    async with scripted(said) as source:
        parameters = kiwi.Parameters(base_url=source.url, username="u", password=SECRET)
        async with open_http(source.url, **kiwi.Kiwi.connection(parameters)) as http:
            with pytest.raises(Misconfigured, match=r'COL-0323: .*"Wrong password \*\*\* <"'):
                await kiwi.Kiwi(parameters, http, 100).survey()


# ---- pages -----------------------------------------------------------------------------------------------


async def test_ids_that_come_twice_are_one_record(read):
    """In a page, and over pages: the last one wins, for their source versions are the same."""
    first = at(0, record(1), record(2, title="old"), record(2, title="new"), following=3)
    run, shelf, _ = await read(first, at(3, record(2, title="newest"), record(3)))
    assert {id: row["name"] for id, row in shelf.rows().items()} == {"1": "case 1", "2": "newest", "3": "case 3"}
    assert run.shard()["fetched"] == 5
    assert sum(run.applied().values()) == 5


async def test_an_empty_page_in_the_middle_ends_nothing(read):
    run, shelf, server = await read(at(0, record(1), following=3), at(3, following=6), at(6, record(7)))
    assert run.shard()["state"] == ShardState.COMPLETED
    assert set(shelf.rows()) == {"1", "7"}
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("link", "code"),
    [
        (b'"/api/v2/get_cases/1&offset=3"', "COL-0320"),
        (b'"/api/v2/get_cases/1&offset=0"', "COL-0320"),
        (b'"/api/v2/get_cases/1&offset=99999999999999999999"', "COL-0320"),
        (b"7", "COL-0320"),
        (b"[]", None),
        (b'"gopher://127.0.0.1/x?offset=9"', "COL-0304"),
        (b'"file:/etc/passwd?offset=9"', "COL-0303"),
        (b'"http://169.254.169.254/latest/meta-data?offset=9"', "COL-0304"),
        (b'"http://localhost/api?offset=9"', "COL-0304"),
    ],
)
async def test_a_link_that_leads_back_or_away_fails_the_shard_and_keeps_what_was_read(read, link, code):
    """The link of the second page; what stands after it is not taken for read."""
    second = at(3, record(4)).replace(b'"next":null', b'"next":' + link)
    run, shelf, server = await read(at(0, record(1), following=3), second)
    assert len(server.asked) == 2
    if code:
        assert code in run.shard()["error"]
        assert (run.shard()["state"], set(shelf.rows())) == (ShardState.FAILED, {"1"})
    else:
        assert (run.shard()["state"], set(shelf.rows())) == (ShardState.COMPLETED, {"1", "4"})


WHOLE = page(*(record(id) for id in range(1, 4)))


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE[:60], "COL-0307"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE[:60], "COL-0313"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + WHOLE, "COL-0307"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Log in</html>", "COL-0312"),
        (b"[" * 100_000, "COL-0313"),
        (b'{"offset":NaN,"cases":[]}', "COL-0313"),
        (b'{"offset":0,"cases":[],"cases":[]}', "COL-0313"),
    ],
    ids=["cut off", "cut off without a length", "cut off in a chunk", "a web page", "brackets", "NaN", "a key twice"],
)
async def test_a_broken_page_fails_the_shard_and_is_read_again_when_it_is_whole(read, broken, code):
    run, shelf, _ = await read(at(0, record(1), following=3), broken)
    assert (run.shard()["state"], set(shelf.rows())) == (ShardState.FAILED, {"1"})
    assert code in run.shard()["error"]
    assert run.shard()["page"] == 1
    assert refused(run) == []


# ---- bodies ----------------------------------------------------------------------------------------------


@pytest.fixture
def get(scripted, open_http):
    async def asked(answer, **options):
        async with scripted(answer) as server, open_http(server.url, **options) as http:
            return await http.get("/api")

    return asked


def raw_deflate(body: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(body) + packing.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
)
@pytest.mark.parametrize("body", [b'{"a":1}', b'"' + b"x" * 3_000_000 + b'"'], ids=["small", "large"])
async def test_packed_answers_are_unpacked(get, reply, encoding, pack, body):
    assert await get(reply(pack(body), Content_Encoding=encoding)) == orjson.loads(body)


async def test_a_bomb_is_left_before_it_fills_the_memory(get, reply, monkeypatch):
    monkeypatch.setattr(outbound, "LARGEST_BODY", 4 * 2**20)
    packing = zlib.compressobj(wbits=31)
    bomb = b"".join(packing.compress(bytes(2**22)) for _ in range(16)) + packing.flush()
    assert len(bomb) < 2**19
    tracemalloc.start()
    try:
        with pytest.raises(Misconfigured, match="COL-0309") as caught:
            await get(reply(bomb, Content_Encoding="gzip"))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert "page_size" in caught.value.remedy


async def test_a_page_of_more_than_64_mib_is_refused(get, reply):
    with pytest.raises(Misconfigured, match="more than 64 MiB"):
        await get(reply(gzip.compress(b" " * (64 * 2**20 + 1), 1), Content_Encoding="gzip"))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "compress"])
async def test_an_encoding_nobody_asked_for_is_refused(get, reply, encoding):
    with pytest.raises(Misconfigured, match="COL-0310"):
        await get(reply(gzip.compress(b"[]"), Content_Encoding=encoding))


@pytest.mark.parametrize(
    "body",
    [b"no gzip", b"\x1f", gzip.compress(b"[1]" * 1_000, mtime=0)[:-9], b"\x78\x9cxxxx", b"\x1f\x8b\x08" + b"\xff" * 99],
)
async def test_packed_data_that_is_broken_may_pass(get, reply, body):
    with pytest.raises(Transient, match="COL-0311"):
        await get(reply(body, Content_Encoding="gzip"))


async def test_an_empty_answer_needs_no_packing(get, reply):
    with pytest.raises(Transient, match="COL-0314"):
        await get(reply(b"", 502, Content_Encoding="gzip"))


@pytest.fixture
def stubborn():
    """`async with stubborn(serve) as url`: a server that answers with what `serve(writer)` does, until it is left."""

    @asynccontextmanager
    async def opened(serve):
        serving = set()

        async def connected(reader, writer):
            serving.add(asyncio.current_task())
            try:
                await reader.readuntil(b"\r\n\r\n")
                await serve(writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for task in serving:
                task.cancel()

    return opened


async def silent(writer) -> None:
    await asyncio.Event().wait()


def endless(start: bytes, again: bytes, pause: float):
    async def serve(writer) -> None:
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return serve


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "serve",
    [
        silent,
        endless(OK + b"Content-Length: 9999\r\n\r\n[", b" ", 0.02),
        endless(OK, b"X-More: x\r\n", 0.02),
        endless(OK + b"X-Long: ", b"x", 0.02),
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
    ],
    ids=["nothing", "a body that drips", "headers that drip", "a header that drips", "chunks that drip"],
)
async def test_no_answer_takes_longer_than_its_time(stubborn, open_http, serve):
    async with stubborn(serve) as url, open_http(url, timeout=0.2) as http:
        with pytest.raises(Transient, match=r"did not finish its answer within 0\.2 s"):
            await http.get("/api")


async def test_the_time_for_an_answer_is_what_the_definition_says(stubborn):
    async with stubborn(silent) as url:
        source = {"base_url": url, "project_id": 1, "username": "reader", "api_key": "k"}
        strategy = {"timeout": 1, "retry": {"attempts": 1}}
        definition = Collection(name="c", collector="testrail", source=source, strategy=strategy)
        async with connected(definition, {}.get) as (collector, _):
            with pytest.raises(Transient, match="within 1 s"):
                await collector.survey()


@pytest.mark.parametrize("again", [b"X-More: xxxxxxxxxxxxxxxxxxxxx\r\n" * 99, b"x" * 4_096], ids=["lines", "one line"])
async def test_headers_without_an_end_are_not_gathered(stubborn, open_http, again):
    async with stubborn(endless(OK + b"X-First: 1", again, 0.0)) as url, open_http(url, timeout=30.0) as http:
        with pytest.raises(Transient, match="COL-0307"):
            await http.get("/api")


# ---- elsewhere -------------------------------------------------------------------------------------------

AWAY = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "gopher://127.0.0.1:{canary}/_x",
    "http://127.1:{canary}/",
    "http://2130706433:{canary}/",
    "http://0x7f000001:{canary}/",
    "http://0:{canary}/",
    "http://reader:pass@127.0.0.1:{canary}/",
    "http://reader:pass@127.0.0.1:{own}/",
    "///127.0.0.1:{canary}/",
    "\\\\127.0.0.1:{canary}\\",
    "http:127.0.0.1:{canary}/",
]


@pytest.mark.parametrize("target", AWAY)
async def test_no_redirect_leads_anywhere_else(scripted, open_http, reply, target):
    async with (
        scripted(reply([])) as canary,
        scripted(lambda asked: away, reply({"error": "nothing here"}, 404)) as server,
    ):
        away = reply(status=302, Location=target.format(canary=canary.port, own=server.port))
        async with open_http(server.url, auth=("reader", SECRET)) as http:
            with pytest.raises((Misconfigured, Transient)):
                await http.get("/api")
    assert canary.asked == []
    assert all("pass" not in asked.headers["authorization"] for asked in server.asked)


def test_an_address_with_a_user_name_is_refused_on_the_own_host_too(open_http):
    with pytest.raises(Misconfigured, match="COL-0304") as caught:
        open_http("http://a.test").same_origin("http://reader:pass@a.test/api")
    assert "pass" not in str(caught.value)


# ---- secrets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["error", "message", "detail"])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_what_the_source_says_never_repeats_a_secret(scripted, open_http, caplog, reply, status, word):
    def echo(asked):
        basic = asked.headers["authorization"].split()[1]
        return reply({word: f"{basic} token-77 hush {SECRET} {'x' * 90} {SECRET}"}, status, Retry_After="9999")

    auth = {"auth": ("reader", SECRET), "headers": {"X-Key": "Bearer token-77"}, "secrets": ["hush"]}
    async with scripted(echo) as server, open_http(server.url, **auth) as http:
        with pytest.raises((Misconfigured, Transient)) as caught:
            await http.get("/api")
    basic = server.asked[0].headers["authorization"].split()[1]
    for said in (str(caught.value), repr(caught.value), caplog.text):
        assert not [secret for secret in (SECRET, SECRET[:5], basic, "token-77", "hush") if secret in said]
    assert "***" in str(caught.value)


@pytest.mark.parametrize("written", [json.dumps, lambda text: json.dumps(text, ensure_ascii=False), quote_plus])
async def test_a_secret_is_known_however_it_is_written(scripted, open_http, reply, written):
    odd = 'pa"ssü w\\ord'
    answer = reply({"error": f"you sent {written(odd)}"}, 400)
    async with scripted(answer) as server, open_http(server.url, auth=("reader", odd)) as http:
        with pytest.raises(Misconfigured) as caught:
            await http.get("/api")
    assert "you sent" in str(caught.value) and "***" in str(caught.value)
    assert not re.search("ssü|ss%C3|u00fc", str(caught.value))


async def test_a_secret_in_a_redirect_or_a_header_is_not_repeated(scripted, open_http, reply):
    answers = [
        reply(status=302, Location="http://s3cr3t-key.test/"),
        reply(status=302, Location="/s3cr3t-key"),
        reply(Content_Encoding="s3cr3t-key"),
        b"HTTP/1.1 200 s3cr3t-key\r\ns3cr3t-key\r\n\r\n",
        b"s3cr3t-key\r\n\r\n",
    ]
    for answer in answers:
        options = {"auth": ("reader", "s3cr3t-key")}
        async with scripted(answer, reply(status=404)) as server, open_http(server.url, **options) as http:
            with pytest.raises((Misconfigured, Transient)) as caught:
                await http.get("/api")
        assert "s3cr3t" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}", answer


async def test_what_the_source_says_is_one_line_without_control_characters(get, reply):
    with pytest.raises(Misconfigured) as caught:
        await get(reply({"error": "a\r\n\x1b[31mb\0c\x9bd"}, 404))
    assert ': "a [31mb c d"' in str(caught.value)


# ---- rates -----------------------------------------------------------------------------------------------


async def test_what_an_answer_says_of_its_rate_is_kept(scripted, open_http, reply):
    limited = reply([], X_RateLimit_Remaining="7", RateLimit="limit=9", RateLimit_Policy="9;w=60", Retry_After="3")
    async with scripted(limited, reply([])) as server, open_http(server.url) as http:
        assert http.limits == {}
        await http.get("/api")
        assert http.limits == {
            "x-ratelimit-remaining": "7",
            "ratelimit": "limit=9",
            "ratelimit-policy": "9;w=60",
            "retry-after": "3",
        }
        await http.get("/api")
        assert http.limits == {}
