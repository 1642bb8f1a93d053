"""The one HTTP client every collector uses: one origin, total timeouts, bounded bodies, retries with one owner."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import httpx
import orjson
import stamina
from pydantic import AfterValidator

from collectors.errors import Misconfigured, Throttled, Transient
from collectors.models import Json, Retry
from collectors.pacing import LONGEST_PAUSE, Pace, retry_after

log = logging.getLogger(__name__)

TOTAL_TIMEOUT = 60.0
STEP_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
LARGEST_BODY = 64 * 2**20
MOST_REDIRECTS = 5
MAINTENANCE_STATUSES = frozenset({409, 503})


def checked_base_url(value: str) -> str:
    """An absolute http(s) address without credentials, query or trailing slash."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
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
    """Requests to one source, answered with decoded JSON.

    Raises Misconfigured (address, credentials, not an API) at once, Transient after the last try.
    """

    def __init__(
        self,
        base_url: str,
        retry: Retry,
        pace: Pace,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.base_url = base_url
        self._origin = httpx.URL(base_url)
        self._retry, self._pace = retry, pace
        self._client = httpx.AsyncClient(
            auth=auth,
            headers={"Accept": "application/json"} | (headers or {}),
            timeout=STEP_TIMEOUT,
            trust_env=False,
        )
        self.first_request_at: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        return await self._patiently(lambda: self._client.build_request("GET", self.same_origin(path)))

    async def post(self, path: str, body: Json, read: Callable[[Any], Any] = _as_it_is) -> Any:
        """`read` turns the answer into the result; when it raises Transient, the request is tried again."""
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
            raise Misconfigured(f"the source at {self.base_url} points to no address ({error})") from None
        if (url.scheme, url.host, url.port) != (self._origin.scheme, self._origin.host, self._origin.port):
            raise Misconfigured(
                f"the source at {self.base_url} points to another host, {url.host}",
                "Only the address in the definition is followed; use the source's final address as base_url.",
            )
        return url

    async def _patiently(self, build: Callable[[], httpx.Request], read: Callable[[Any], Any] = _as_it_is) -> Any:
        policy = stamina.retry_context(
            on=_worth_a_retry,
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
        while True:
            await self._pace.turn()
            try:
                return await self._once(build())
            except Throttled as error:
                if time.monotonic() + error.delay >= give_up:
                    raise
                self._pace.hold(error.delay)
                log.warning("%s", error.what)

    async def _once(self, request: httpx.Request) -> Any:
        self.first_request_at = self.first_request_at or time.time()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                return await self._followed(request)
        except TimeoutError:
            raise Transient(f"{self.base_url} did not finish its answer within {TOTAL_TIMEOUT:.0f} s") from None
        except httpx.TimeoutException:
            raise Transient(f"{self.base_url} did not answer in time") from None
        except httpx.RequestError as error:
            raise Transient(
                f"{self.base_url} cannot be reached ({str(error) or type(error).__name__})",
                "Check that the server runs and that base_url is right.",
            ) from error

    async def _followed(self, request: httpx.Request) -> Any:
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
            if response.next_request is None:
                return self._decoded(response, body)
            self.same_origin(str(response.next_request.url))
            request = response.next_request
        raise Misconfigured(f"{self.base_url} redirects in circles", "Use the source's final address as base_url.")

    async def _body(self, response: httpx.Response) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > LARGEST_BODY:
                raise Misconfigured(
                    f"{self.base_url} answered with more than {LARGEST_BODY // 2**20} MiB in one page",
                    "Ask for smaller pages: strategy.page_size.",
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _decoded(self, response: httpx.Response, body: bytes) -> Any:
        if response.status_code != 200:
            raise self._failure(response, body)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if body.lstrip()[:1] == b"<" or "html" in response.headers.get("content-type", ""):
                raise Misconfigured(
                    f"{self.base_url} answered with a web page instead of JSON",
                    "Check base_url: it may lead to a log-in page, a proxy or another program.",
                ) from None
            raise Transient(f"{self.base_url} sent broken JSON ({error})") from None

    def _failure(self, response: httpx.Response, body: bytes) -> Exception:
        status, said = response.status_code, _said(body)
        pause = response.headers.get("retry-after")
        if status == 429 or (status in MAINTENANCE_STATUSES and pause):
            delay = retry_after(pause, datetime.now(UTC))
            return Throttled(f"{self.base_url} asked to wait {delay:.0f} s ({status}){said}", delay)
        if status >= 500 or status in MAINTENANCE_STATUSES:
            return Transient(f"{self.base_url} failed with {status}{said}")
        if status in (401, 403):
            return Misconfigured(
                f"{self.base_url} refused the credentials ({status}){said}",
                "Check the user name and the password or API key, and what that user may read.",
            )
        return Misconfigured(
            f"{self.base_url} answered {status} to {str(response.request.url.raw_path, 'ascii'):.100}{said}",
            "Check base_url and the ids in the definition.",
        )


def _worth_a_retry(error: Exception) -> bool:
    worth = isinstance(error, Transient) and not isinstance(error, Throttled)
    if worth:
        log.warning("%s; trying again", error.what)
    return worth


def _said(body: bytes) -> str:
    """What the source gave as its reason, shortened to fit a line."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    reason = answer.get("error") if isinstance(answer, dict) else None
    return f': "{reason[:200]}"' if isinstance(reason, str) else ""
