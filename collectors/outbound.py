"""The one HTTP client every collector uses: one origin, total timeouts, bounded bodies, retries with one owner."""

import asyncio
import logging
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import httpx
import orjson
import stamina
from pydantic import AfterValidator

from collectors.conditional import NotModified, condition_headers, note_etag
from collectors.errors import CollectError, Misconfigured, NotAllowed, Throttled, Transient
from collectors.exact_json import decoded
from collectors.language import spoken
from collectors.models import Json, Retry
from collectors.pacing import LONGEST_PAUSE, Pace, pauses, retry_after
from collectors.quoting import Quoting, sent
from collectors.unpacking import TooLarge, gathered, unpacked

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
LARGEST_BODY = 64 * 2**20
MOST_REDIRECTS = 5
NOT_SHOWN = frozenset({401, 403, 404})
MAINTENANCE_STATUSES = frozenset({409, 503})
RATE_HEADERS = re.compile(r"retry-after|(x-)?rate-?limit.*")
SAID_UNDER = ("error", "message", "detail")


def checked_base_url(value: str) -> str:
    """An absolute http(s) address without credentials, query or trailing slash."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        usable = usable and not parts.netloc.endswith(":")
        usable = usable and not re.search(r"[\s\x00-\x1f\x7f]", value) and bool(httpx.URL(value).host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ValueError("has to be an address like https://tests.example.com")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password; the collector has parameters for them")
    if "?" in value or "#" in value:
        raise ValueError("must end with the path; leave out everything from ? or # on")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(checked_base_url)]


def _as_it_is(answer: Any) -> Any:
    return answer


class Http:
    """Requests to one source, answered with decoded JSON. `timeout`: seconds for one of them with its whole answer.

    `limits` are the headers of the last answer that speak of its rate. The password of `auth`, the values of `headers`
    and `secrets` are never repeated in an error. Raises Misconfigured (address, credentials, not an API) at once,
    Transient after the last try.
    """

    def __init__(
        self,
        base_url: str,
        retry: Retry,
        pace: Pace,
        timeout: float = 60.0,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self.base_url = base_url
        self._origin = httpx.URL(base_url)
        self._retry, self._pace, self._timeout = retry, pace, timeout
        self.quoted = Quoting([*secrets, *sent(auth, headers or {})], base_url)
        self._client = httpx.AsyncClient(
            auth=auth,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip, deflate"} | (headers or {}),
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
            trust_env=False,
        )
        self.limits: dict[str, str] = {}  # the rate headers of the last answer
        self.began: float | None = None  # when the source answered first, by its own clock; seconds since 1970

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        """Raises NotModified when it was asked for unless it is as it was (collectors.conditional), and is."""
        headers = condition_headers()
        return await self._patiently(lambda: self._client.build_request("GET", self.same_origin(path), headers=headers))

    async def exists(self, path: str, gone: Collection[int], is_there: Callable[[Any], bool]) -> bool | None:
        """Whether the source has what `path` names, by its answer; `gone`: the statuses that say that it has not.

        None when it does not let us see it.
        """
        try:
            answer = await self.get(path)
        except Misconfigured as error:
            status = error.facts.get("status")
            if status in gone:
                return False
            if status in NOT_SHOWN:
                return None
            raise
        return is_there(answer)

    async def post(self, path: str, body: Json, read: Callable[[Any], Any] = _as_it_is) -> Any:
        """`read` turns the answer into the result; when it raises Transient, the request is tried again."""
        condition_headers()  # it is a request more, which cannot be made on a condition
        content = orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        return await self._patiently(
            lambda: self._client.build_request("POST", self.same_origin(path), content=content, headers=headers), read
        )

    def same_origin(self, address: str) -> httpx.URL:
        """`address` (a path below the base, or absolute) on the source's own host; anything else is refused."""
        try:
            url = httpx.URL(address) if "://" in address.partition("?")[0] else httpx.URL(self.base_url + address)
        except httpx.InvalidURL as error:
            raise self._lost(error) from None
        origin = (self._origin.scheme, self._origin.host, self._origin.port)
        if (url.scheme, url.host, url.port) != origin or url.userinfo:
            raise Misconfigured(
                "the source at {server} points to another host, {address}",
                "Only the address in the definition is followed; use the source's final address as base_url.",
                code="COL-0304",
                server=self.base_url,
                address=self.quoted(f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"),
            )
        return url

    def _lost(self, error: httpx.InvalidURL) -> Misconfigured:
        return Misconfigured(
            "the source at {server} points to no address ({why})",
            "Ask the source's owner: its links are broken.",
            code="COL-0303",
            server=self.base_url,
            why=self.quoted(str(error)),
        )

    async def _patiently(self, build: Callable[[], httpx.Request], read: Callable[[Any], Any] = _as_it_is) -> Any:
        left = iter(reversed(range(self._retry.attempts)))
        policy = stamina.retry_context(
            on=lambda error: _worth_a_retry(error, next(left)),
            attempts=self._retry.attempts,
            timeout=None,
            wait_initial=self._retry.initial,
            wait_max=self._retry.maximum,
            wait_jitter=self._retry.initial,
        )
        async for attempt in policy:
            with attempt:
                return read(await self._unthrottled(build))
        raise AssertionError("unreachable")

    async def _unthrottled(self, build: Callable[[], httpx.Request]) -> Any:
        """Being asked to wait is no failure: wait as long as asked, less than an hour altogether."""
        give_up = time.monotonic() + LONGEST_PAUSE
        for least in pauses():
            await self._pace.turn()
            try:
                return await self._once(build())
            except Throttled as error:
                pause = max(error.delay, least)
                if time.monotonic() + pause >= give_up:
                    raise
                self._pace.hold(pause)
                log.warning("%s", error.what)
        raise AssertionError("unreachable")

    async def _once(self, request: httpx.Request) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._followed(request)
        except httpx.InvalidURL as error:
            raise self._lost(error) from None
        except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout, TimeoutError):
            raise Transient(
                "{server} did not finish its answer within {seconds:g} s",
                "Ask for smaller pages (strategy.page_size), or wait longer (strategy.timeout).",
                code="COL-0305",
                server=self.base_url,
                seconds=self._timeout,
            ) from None
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise Transient(
                "{server} broke off its answer, or sent no HTTP ({why})",
                "Ask the source's owner; a proxy before it may cut long answers.",
                code="COL-0307",
                server=self.base_url,
                why=self.quoted(str(error) or type(error).__name__),
            ) from None
        except httpx.RequestError as error:
            raise Transient(
                "{server} cannot be reached ({why})",
                "Check that the server runs and that base_url is right.",
                code="COL-0306",
                server=self.base_url,
                why=self.quoted(str(error) or type(error).__name__),
            ) from None

    async def _followed(self, request: httpx.Request) -> Any:
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
            self.began = self.began or _dated(response.headers.get("date"))
            self.limits = {name: self.quoted(value) for name, value in response.headers.items() if _of_rate(name)}
            if response.next_request is None:
                note_etag(response.headers.get("etag"))
                return self._decoded(response, body)
            self.same_origin(str(response.next_request.url))
            request = response.next_request
        raise Misconfigured(
            "{server} redirects in circles",
            "Use the source's final address as base_url.",
            code="COL-0308",
            server=self.base_url,
        )

    async def _body(self, response: httpx.Response) -> bytes:
        try:
            return await gathered(self._plain(response), LARGEST_BODY)
        except TooLarge:
            raise Misconfigured(
                "{server} answered with more than {most} MiB in one page",
                "Ask for smaller pages: strategy.page_size.",
                code="COL-0309",
                server=self.base_url,
                most=LARGEST_BODY // 2**20,
            ) from None
        except zlib.error as error:
            raise Transient(
                "{server} sent compressed data that is broken ({why})",
                "Ask the source's owner; a proxy before it may cut long answers.",
                code="COL-0311",
                server=self.base_url,
                why=error,
            ) from None

    def _plain(self, response: httpx.Response) -> AsyncIterator[bytes]:
        match encoding := response.headers.get("content-encoding", "").strip().lower():
            case "" | "identity":
                return response.aiter_raw()
            case "gzip" | "x-gzip" | "deflate":
                return unpacked(response.aiter_raw())
        raise Misconfigured(
            "{server} sent an encoding that was not asked for, {encoding}",
            "Only gzip and deflate are read; ask the owner of the source, or of the proxy before it.",
            code="COL-0310",
            server=self.base_url,
            encoding=self.quoted(encoding),
        )

    def _decoded(self, response: httpx.Response, body: bytes) -> Any:
        if response.status_code == 304 and "if-none-match" in response.request.headers:
            raise NotModified("{server} says that nothing has changed", code="COL-0325", server=self.base_url)
        if response.status_code != 200:
            raise self._failure(response, body)
        try:
            return decoded(body)
        except ValueError as error:
            if body.lstrip()[:1] == b"<" or "html" in response.headers.get("content-type", ""):
                raise Misconfigured(
                    "{server} answered with a web page instead of JSON",
                    "Check base_url: it may lead to a log-in page, a proxy or another program.",
                    code="COL-0312",
                    server=self.base_url,
                ) from None
            raise Transient(
                "{server} sent broken JSON ({why})",
                "Ask the source's owner; a smaller strategy.page_size may help.",
                code="COL-0313",
                server=self.base_url,
                why=self.quoted(str(error)),
            ) from None

    def _failure(self, response: httpx.Response, body: bytes) -> CollectError:
        status = response.status_code
        facts = {"server": self.base_url, "status": status, "said": self._said(body)}
        pause = response.headers.get("retry-after")
        if status == 429 or (status in MAINTENANCE_STATUSES and pause):
            delay = retry_after(pause, datetime.now(UTC))
            what = "{server} asked to wait {delay:.0f} s ({status}){said}"
            return Throttled(what, delay, "Go on later with: collect retry RUN", code="COL-0302", delay=delay, **facts)
        if status >= 500 or status in MAINTENANCE_STATUSES:
            return Transient(
                "{server} failed with {status}{said}",
                "Ask the source's owner; when it is well again: collect retry RUN",
                code="COL-0314",
                **facts,
            )
        if status in (401, 403):
            return NotAllowed(
                "{server} refused the credentials ({status}){said}",
                "Check the user name and the password or API key, and what that user may read.",
                code="COL-0315",
                **facts,
            )
        return Misconfigured(
            "{server} answered {status} to {path}{said}",
            "Check base_url and the ids in the definition.",
            code="COL-0316",
            path=self.quoted(str(response.request.url.raw_path, "ascii"))[:100],
            **facts,
        )

    def _said(self, body: bytes) -> str:
        """What the source gave as its reason."""
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
        found = (answer.get(word) for word in SAID_UNDER) if isinstance(answer, dict) else ()
        reason = next((each for each in found if isinstance(each, str) and each), None)
        return f': "{self.quoted(reason)}"' if reason else ""


def _dated(date: str | None) -> float | None:
    """A zone of -0000 means that nobody knows where it was written, and the time is UTC all the same."""
    try:
        found = parsedate_to_datetime(date) if date else None
    except ValueError:
        return None
    return found and (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _of_rate(header: str) -> bool:
    return RATE_HEADERS.fullmatch(header) is not None


def _worth_a_retry(error: Exception, left: int) -> bool:
    worth = isinstance(error, Transient) and not isinstance(error, Throttled)
    if worth and left:
        log.warning(spoken("{what}; trying again", what=error.what))
    return worth
