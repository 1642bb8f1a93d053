"""The HTTP client against real servers that play what a source may send."""

import gzip
import socket
import struct
import threading
import time
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from collectors import outbound
from collectors.conditional import NotModified, unless
from collectors.errors import CollectError, Misconfigured, NotAllowed, Throttled, Transient
from collectors.models import Retry
from collectors.outbound import checked_base_url
from collectors.pacing import LONGEST_PAUSE, Pace, pauses

SECRET = "s3cr3t-word"
GOOD = {"cases": [1]}


class Leaping:
    """A clock on which every pause is over by the next look, so that no test waits for one."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10_000.0
        return self.now


class Remembering(Pace):
    """Remembers the pauses it was asked to hold."""

    def __init__(self) -> None:
        super().__init__(Leaping())
        self.held: list[float] = []

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)
        super().hold(seconds)


@pytest.fixture
def get(scripted, open_http):
    """Asks a server that plays the answers; gives what came of it, and the server."""

    async def asked(*answers: bytes, pace: Pace | None = None, path: str = "/api"):
        async with scripted(*answers) as server, open_http(server.url, pace, auth=("reader", SECRET)) as http:
            try:
                return await http.get(path), server
            except CollectError as error:
                assert SECRET not in f"{error} {error!r} {error.__cause__!r}"
                return error, server

    return asked


async def test_a_page_is_asked_for_unless_it_is_as_it_was(scripted, open_http):
    page = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 14\r\n\r\n{"cases": [1]}'
    same = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
    async with scripted(page, same, page, page) as server, open_http(server.url) as http:
        with unless(None) as first:
            assert await http.get("/api") == GOOD
        assert first.etag == '"a"'
        with unless(first.etag), pytest.raises(NotModified):
            await http.get("/api")
        with unless(first.etag) as twice:
            await http.get("/api")
            await http.get("/other")
        assert twice.etag is None
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"a"', '"a"', None]


async def test_a_304_that_was_not_asked_for_is_a_failure(get):
    error, _ = await get(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    assert isinstance(error, Misconfigured)


# ---- answers ---------------------------------------------------------------------------------------------


async def test_json_is_decoded_and_the_request_is_what_the_source_needs(get, reply):
    found, server = await get(reply(GOOD), path="/index.php?/api/v2/get_cases/1&limit=5")
    assert found == GOOD
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("GET", "/index.php?/api/v2/get_cases/1&limit=5")
    assert asked.headers["authorization"] == "Basic " + b64encode(f"reader:{SECRET}".encode()).decode()
    assert asked.headers["accept"] == "application/json"


async def test_a_post_sends_its_body_again_when_it_is_tried_again(scripted, open_http, reply):
    async with scripted(reply(status=500), reply(GOOD)) as server, open_http(server.url) as http:
        assert await http.post("/json-rpc/", {"é": [1]}) == GOOD
    assert [(asked.method, asked.body) for asked in server.asked] == [("POST", '{"é":[1]}'.encode())] * 2
    assert server.asked[0].headers["content-type"] == "application/json"


async def test_given_headers_are_sent_with_every_request(scripted, open_http, reply):
    async with scripted(reply(GOOD)) as server, open_http(server.url, headers={"X-Token": "t"}) as http:
        await http.get("/")
        await http.get("/")
    assert [asked.headers["x-token"] for asked in server.asked] == ["t", "t"]


async def test_the_path_of_the_base_address_is_kept(scripted, open_http, reply):
    async with scripted(reply(GOOD)) as server, open_http(f"{server.url}/tests/rail") as http:
        await http.get("/index.php")
    assert server.asked[0].target == "/tests/rail/index.php"


async def test_the_environments_proxy_is_not_used(get, reply, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found, _ = await get(reply(GOOD))
    assert found == GOOD


async def test_compressed_answers_are_decoded(get, reply):
    found, _ = await get(reply(gzip.compress(b'{"cases":[1]}'), Content_Encoding="gzip"))
    assert found == GOOD


# ---- what cannot pass by itself --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told_at_once(get, reply, status):
    error, server = await get(reply({"error": "Invalid user."}, status))
    assert type(error) is NotAllowed
    assert f'refused the credentials ({status}): "Invalid user."' in str(error)
    assert len(server.asked) == 1


@pytest.fixture
def in_china(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", "+0800"])
async def test_the_clock_of_the_source_is_read_in_its_own_zone(in_china, scripted, open_http, reply, zone):
    hour = "08" if zone == "+0800" else "00"
    answer = reply(GOOD, Date=f"Thu, 01 Jan 2026 {hour}:00:00 {zone}")
    async with scripted(answer) as server, open_http(server.url) as http:
        await http.get("/")
    assert http.began == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("status", [400, 404, 410, 422])
async def test_a_wrong_address_or_id_is_told_at_once_with_its_path(get, reply, status):
    error, server = await get(reply({"error": "No such project."}, status), path="/index.php?/api/v2/get_cases/7")
    assert type(error) is Misconfigured
    assert f'answered {status} to /index.php?/api/v2/get_cases/7: "No such project."' in str(error)
    assert len(server.asked) == 1


async def test_what_the_source_says_is_shortened_to_fit_a_line(get, reply):
    error, _ = await get(reply({"error": "x" * 5_000}, 404))
    assert len(str(error)) < 500


@pytest.mark.parametrize("said", [b"not json", b"[]", b"{}", b'{"error": {"code": 7}}', b"\xff", b""])
async def test_what_the_source_says_may_be_anything(get, reply, said):
    error, _ = await get(reply(said, 404))
    assert type(error) is Misconfigured


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!doctype html><h1>Log in</h1>", "text/html; charset=utf-8"),
        (b"\n  <html></html>", "text/plain"),
        (b"Log in", "text/html"),
    ],
)
async def test_a_web_page_instead_of_json_is_told_at_once(get, reply, body, content_type):
    error, server = await get(reply(body, content_type=content_type))
    assert type(error) is Misconfigured
    assert "web page instead of JSON" in str(error)
    assert len(server.asked) == 1


async def test_a_body_that_is_too_large_is_not_read_to_its_end(get, reply, monkeypatch):
    monkeypatch.setattr(outbound, "LARGEST_BODY", 1_000)
    error, server = await get(reply(b'"' + b"x" * 999 + b'"'))
    assert type(error) is Misconfigured
    assert "page_size" in str(error)
    assert len(server.asked) == 1


async def test_a_small_answer_that_unpacks_to_too_much_is_refused(get, reply, monkeypatch):
    monkeypatch.setattr(outbound, "LARGEST_BODY", 100_000)
    packed = gzip.compress(b'"' + b"x" * 10_000_000 + b'"')
    error, _ = await get(reply(packed, Content_Encoding="gzip"))
    assert type(error) is Misconfigured


async def test_the_largest_body_allowed_is_read(get, reply, monkeypatch):
    monkeypatch.setattr(outbound, "LARGEST_BODY", 1_000)
    found, _ = await get(reply(b'"' + b"x" * 998 + b'"'))
    assert found == "x" * 998


# ---- what may pass by itself -----------------------------------------------------------------------------

CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2"


@pytest.mark.parametrize("status", [500, 502, 504, 409, 503])
async def test_a_server_error_is_tried_again(get, reply, status):
    found, server = await get(reply(status=status), reply(GOOD))
    assert found == GOOD
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "broken",
    [b'{"cases": [1', b"", b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"cases": [], "offset": NaN}'],
    ids=["cut off", "empty", "not UTF-8", "not JSON", "brackets", "flawed outside of its records"],
)
async def test_broken_json_is_tried_again(get, reply, broken):
    found, server = await get(reply(broken), reply(GOOD))
    assert found == GOOD
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense\r\n\r\n", CUT_OFF], ids=["closed without an answer", "not HTTP", "cut off"]
)
async def test_a_broken_connection_is_tried_again(get, reply, broken):
    found, server = await get(broken, reply(GOOD))
    assert found == GOOD
    assert len(server.asked) == 2


async def test_an_answer_that_cannot_be_unpacked_is_tried_again(get, reply):
    found, server = await get(reply(b"no gzip at all", Content_Encoding="gzip"), reply(GOOD))
    assert found == GOOD
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"status": 500}, "failed with 500"),
        ({"status": 503}, "failed with 503"),
        ({"body": b"{"}, "broken JSON"),
    ],
)
async def test_after_the_last_try_the_failure_is_told(get, reply, bad, said, caplog):
    error, server = await get(reply(**bad))
    assert type(error) is Transient
    assert said in str(error)
    assert len(server.asked) == 2
    assert caplog.text.count("trying again") == 1


async def test_a_server_that_is_not_there_is_told_after_the_last_try(open_http):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with open_http(f"http://127.0.0.1:{port}", auth=("reader", SECRET)) as http:
            with pytest.raises(Transient, match=rf"127\.0\.0\.1:{port} cannot be reached .*\nCheck that the server"):
                await http.get("/")


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".test"])
async def test_a_host_that_cannot_exist_is_told(open_http, host):
    async with open_http(f"http://{host}") as http:
        with pytest.raises(CollectError, match="cannot be reached"):
            await http.get("/")


async def test_a_reset_connection_says_what_happened(open_http):
    """The reason of a reset comes without words of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(65_536)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        resetting = threading.Thread(target=reset)
        resetting.start()
        async with open_http(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            with pytest.raises(Transient, match=r"broke off its answer, or sent no HTTP \(.+\)"):
                await http.get("/")
        resetting.join()


# ---- being asked to wait ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "pauses"),
    [
        (429, "0", [0.1, 0.2, 0.4]),
        (429, "30", [30.0] * 3),
        (429, None, [5.0] * 3),
        (429, "-5", [5.0] * 3),
        (429, "soon", [5.0] * 3),
        (429, "Wed, 21 Oct 2015 07:28:00 GMT", [0.1, 0.2, 0.4]),
        (503, "7", [7.0] * 3),
        (409, "7", [7.0] * 3),
    ],
)
async def test_being_asked_to_wait_is_heeded_for_all_and_is_no_failure(get, reply, status, header, pauses):
    """Three times, though a failure is tried only twice."""
    pace = Remembering()
    busy = reply({"error": "busy"}, status, **({"Retry_After": header} if header else {}))
    found, server = await get(busy, busy, busy, reply(GOOD), pace=pace)
    assert found == GOOD
    assert pace.held == pauses
    assert len(server.asked) == 4


async def test_a_pause_of_zero_is_waited_for_by_the_real_clock_too(get, reply):
    found, server = await get(reply(status=429, Retry_After="0"), reply(GOOD))
    assert found == GOOD
    assert len(server.asked) == 2


async def test_being_asked_to_wait_does_not_use_up_the_tries(get, reply):
    busy = reply(status=429, Retry_After="1")
    found, _ = await get(busy, reply(status=500), busy, reply(GOOD), pace=Remembering())
    assert found == GOOD


async def test_a_source_that_never_lets_anybody_in_is_not_hammered():
    """In the hour it is waited for, whatever it says."""
    asked, waited = 0, 0.0
    for pause in pauses():
        if (waited := waited + pause) >= LONGEST_PAUSE:
            break
        asked += 1
    assert 20 < asked < 100


@pytest.mark.parametrize("wanted", ["7200", "31536000", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_source_that_wants_more_than_an_hour_is_given_up(get, reply, wanted):
    pace = Remembering()
    error, server = await get(reply({"error": "full"}, 429, Retry_After=wanted), pace=pace)
    assert type(error) is Throttled
    assert error.delay == 3600.0
    assert 'asked to wait 3600 s (429): "full"' in str(error)
    assert (len(server.asked), pace.held) == (1, [])


# ---- redirects -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("absolute", [True, False])
async def test_a_redirect_to_the_same_host_is_followed_with_credentials(scripted, open_http, reply, status, absolute):
    async with (
        scripted(
            lambda asked: reply(status=status, Location=f"{server.url if absolute else ''}/new?a=1"), reply(GOOD)
        ) as server,
        open_http(server.url, auth=("reader", SECRET)) as http,
    ):
        assert await http.get("/old") == GOOD
    assert [asked.target for asked in server.asked] == ["/old", "/new?a=1"]
    assert server.asked[1].headers["authorization"] == server.asked[0].headers["authorization"]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{canary}/api",
        "//127.0.0.1:{canary}/api",
        "http://localhost:{own}/api",
        "http://localhost:{canary}/api",
        "http://127.0.0.1.nip.io:{own}/api",
        "http://127.0.0.1:{own}@localhost:{canary}/api",
        "https://127.0.0.1:{own}/api",
        "http://[::1]:{own}/api",
        "ftp://127.0.0.1:{own}/api",
    ],
)
@pytest.mark.parametrize("verb", ["get", "post"])
async def test_a_redirect_elsewhere_is_refused_before_anything_is_sent(scripted, open_http, reply, target, verb):
    async with scripted(reply(GOOD)) as canary, scripted(lambda asked: away) as server:
        away = reply(status=307, Location=target.format(canary=canary.port, own=server.port))
        async with open_http(server.url, auth=("reader", SECRET)) as http:
            with pytest.raises(Misconfigured, match="points to another host"):
                await (http.get("/api") if verb == "get" else http.post("/api", {}))
    assert (len(server.asked), len(canary.asked)) == (1, 0)


async def test_a_second_redirect_is_held_to_the_same_rule(scripted, open_http, reply):
    async with scripted(reply(GOOD)) as canary:
        away = reply(status=302, Location=f"{canary.url}/api")
        async with scripted(reply(status=302, Location="/here"), away) as server, open_http(server.url) as http:
            with pytest.raises(Misconfigured, match="another host"):
                await http.get("/api")
    assert (len(server.asked), len(canary.asked)) == (2, 0)


async def test_redirects_in_circles_end(get, reply):
    error, server = await get(reply(status=302, Location="/api"))
    assert type(error) is Misconfigured
    assert "in circles" in str(error)
    assert len(server.asked) == outbound.MOST_REDIRECTS + 1


@pytest.mark.parametrize("location", ["http://[bad", "http://127.0.0.1:port/", "http://\x7f/"])
async def test_a_redirect_to_no_address_is_a_failure_that_is_told(get, reply, location):
    error, _ = await get(reply(status=302, Location=location))
    assert isinstance(error, CollectError)


async def test_a_redirect_that_leads_nowhere_is_told(get, reply):
    error, _ = await get(reply(status=302))
    assert type(error) is Misconfigured
    assert "answered 302" in str(error)


# ---- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/api", "/api?next=http://elsewhere/", "http://a.test:80/api", "//elsewhere/api"])
def test_paths_below_the_base_address_are_asked_of_its_own_host(open_http, address):
    found = open_http("http://a.test").same_origin(address)
    assert (found.scheme, found.host, found.port) == ("http", "a.test", None)


@pytest.mark.parametrize(
    "address",
    [
        "http://elsewhere/api",
        "http://a.test:8080/api",
        "https://a.test/api",
        ".elsewhere/api",
        "@elsewhere/api",
        ":81/",
    ],
)
def test_no_other_host_is_asked(open_http, address):
    with pytest.raises(Misconfigured, match="another host"):
        open_http("http://a.test").same_origin(address)


@pytest.mark.parametrize("address", ["http://a.test:port/?offset=5", "http://a.test/\x7f?offset=5"])
def test_an_address_that_is_none_is_refused(open_http, address):
    with pytest.raises(CollectError):
        open_http("http://a.test").same_origin(address)


@pytest.mark.parametrize(
    ("base", "same"), [("http://a.test", "http://a.test:80/x"), ("https://A.test", "https://a.test:443/x")]
)
def test_the_usual_port_and_the_case_of_a_host_make_no_difference(open_http, base, same):
    assert open_http(base).same_origin(same).path == "/x"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://tests.example.com", "https://tests.example.com"),
        ("https://tests.example.com/", "https://tests.example.com"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://[::1]:8765/rail/", "http://[::1]:8765/rail"),
        ("HTTP://Tests.Example.com/a//", "HTTP://Tests.Example.com/a"),
        ("http://例え.jp", "http://例え.jp"),
    ],
)
def test_a_base_address_is_kept_without_its_last_slash(given, kept):
    assert checked_base_url(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "tests.example.com",
        "tests.example.com:8080",
        "/rail",
        "ftp://tests.example.com",
        "file:///etc/passwd",
        "http://",
        "http:///rail",
        "http://:8080",
        "http://tests.example.com:0x50",
        "http://tests.example.com:99999",
        "http://[::1",
        "http://host/?a=1",
        "http://host/#top",
        "http://host/?",
        "http://host/#",
        "http://reader@host",
        f"http://reader:{SECRET}@host",
        f"http://:{SECRET}@host",
        f"http://reader:{SECRET}#x@host",
        f"http://reader:{SECRET}/x@host",
        f"http://reader:{SECRET}?x@host",
        " http://host",
        "http://host\n",
        "http://ho\tst",
        "http://ho st",
        "http://256.1.1.1",
        "http://xn--zz--.com",
        "http://\N{NO-BREAK SPACE}.com",
    ],
)
def test_anything_else_is_refused_as_a_base_address_without_showing_a_password(given):
    with pytest.raises(ValueError) as caught:
        checked_base_url(given)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        ("x", "no /index.php for x", "no /index.php for ***"),
        ("abc", "abcd abc, =abc", "abcd ***, =***"),
        ("abcd", "xabcdx", "x***x"),
    ],
)
def test_a_very_short_secret_is_not_looked_for_within_words(secret, said, shown):
    assert outbound.Http("http://127.0.0.1:9", Retry(), Pace(), 1, secrets=[secret]).quoted(said) == shown
