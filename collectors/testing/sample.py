"""The sample source: a small server that looks like TestRail, for first steps, tests and benchmarks.

It answers what `sources/testrail.py` asks, and can be slow, faulty or strict about the rate on purpose. Below
`/_sample/` it is changed while it runs, and tells what a collector that missed nothing holds.
"""

import math
import secrets
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, get_args

import anyio
import orjson
import uvicorn
from pydantic import ValidationError, validate_call
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collectors.errors import Misconfigured
from collectors.models import Kind
from collectors.testing.sample_calls import LISTED, SINGLE, Call, link, parsed, password, updated, window
from collectors.testing.sample_tree import Impossible, Tree, Unknown, Verb

MINUTE = 60.0
FIELDS = {"directory": "sections", "case": "cases"}


@dataclass(frozen=True)
class Settings:
    """What the sample source serves, and how it misbehaves."""

    host: str = "127.0.0.1"
    port: int = 8765  # 0: a free one
    cases: int = 20_000
    directories: int = 800
    seed: int = 1
    damaged: int = 0  # cases without a title, which a collector has to refuse
    latency: float = 0.0  # seconds before each answer of the API
    error_rate: float = 0.0  # the share of API requests answered with 500
    rate_limit: int = 0  # API requests per minute; 0: as many as come
    page_size: int = 250  # the most records of one page, whatever is asked for
    api_key: str = ""  # the password to ask for; empty: none

    def __post_init__(self) -> None:
        for what, fine, expected in (
            ("port", 0 <= self.port <= 65_535, "between 0 and 65535"),
            ("cases", self.cases >= 0, "0 or more"),
            ("directories", self.directories >= min(self.cases, 1), "1 or more, because cases live in directories"),
            ("damaged", 0 <= self.damaged <= self.cases, "between 0 and the number of cases"),
            ("latency", self.latency >= 0, "0 or more seconds"),
            ("error_rate", 0 <= self.error_rate <= 1, "between 0 and 1"),
            ("rate_limit", self.rate_limit >= 0, "0 or more requests per minute"),
            ("page_size", self.page_size >= 1, "1 or more"),
        ):
            if not fine:
                raise Misconfigured(
                    "the sample source cannot work with {what} {value}",
                    "Use {expected}.",
                    code="COL-0206",
                    what=what,
                    value=getattr(self, what),
                    expected=expected,
                )


# ---- the application ---------------------------------------------------------------------------------------


@dataclass
class Stats:
    """The API requests so far."""

    requests: int = 0
    by_method: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    throttled: int = 0


class Sample:
    """The answers to all requests, over one tree."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.settings, self._clock = settings, clock
        self.tree = Tree(settings.cases, settings.directories, settings.seed, settings.damaged)
        self._changes = {verb: validate_call(getattr(self.tree, verb)) for verb in get_args(Verb)}
        self._several = validate_call(self.tree.several)
        self.stats = Stats()
        self._admitted: deque[float] = deque()

    async def api(self, request: Request) -> Response:
        call = parsed(request.scope["query_string"])
        self.stats.requests += 1
        self.stats.by_method[call.method] += 1
        number = self.stats.requests
        if self.settings.latency:
            await anyio.sleep(self.settings.latency)
        self._authorize(request.headers.get("authorization", ""))
        self._throttle()
        self._fail(number)
        if call.method in LISTED:
            return _unless_known(request, self._page(LISTED[call.method], call))
        return self._single(SINGLE[call.method], call)

    async def change(self, request: Request) -> Response:
        """The body holds the arguments of the tree's method."""
        verb = request.path_params["verb"]
        if verb not in self._changes:
            raise HTTPException(404, f"Nothing is called /_sample/{verb}. There are {', '.join(self._changes)}.")
        body = _object(await request.body())
        if "count" in body:
            return _answer({"changed": self._several(**body | {"verb": verb})})
        return _answer({"id": self._changes[verb](**body), "kind": body["kind"]})

    async def expected(self, _: Request) -> Response:
        return _answer(self.tree.expected())

    async def read_stats(self, _: Request) -> Response:
        return _answer(self.stats)

    async def reset_stats(self, _: Request) -> Response:
        self.stats = Stats()
        return _answer(self.stats)

    # ---- misbehaviour ----------------------------------------------------------------------------------

    def _authorize(self, header: str) -> None:
        if self.settings.api_key and not secrets.compare_digest(password(header), self.settings.api_key.encode()):
            raise HTTPException(401, "Authentication failed: invalid or missing user/password or session cookie.")

    def _throttle(self) -> None:
        if not self.settings.rate_limit:
            return
        now = self._clock()
        while self._admitted and self._admitted[0] <= now - MINUTE:
            self._admitted.popleft()
        if len(self._admitted) >= self.settings.rate_limit:
            self.stats.throttled += 1
            wait = str(math.ceil(self._admitted[0] + MINUTE - now))
            raise HTTPException(429, f"API Rate Limit Exceeded. Retry after {wait} seconds.", {"Retry-After": wait})
        self._admitted.append(now)

    def _fail(self, number: int) -> None:
        if self.settings.error_rate and Random(f"{self.settings.seed}/{number}").random() < self.settings.error_rate:
            self.stats.errors += 1
            raise HTTPException(500, "This source fails now and then, as it was started with an error rate.")

    # ---- answers of the API ----------------------------------------------------------------------------

    def _single(self, kind: Kind, call: Call) -> Response:
        try:
            return Response(self.tree.listing(kind).body(int(call.target)), media_type="application/json")
        except (ValueError, Unknown):
            field = call.method.removeprefix("get_")
            raise HTTPException(400, f"Field :{field}_id is not a valid {field}.") from None

    def _page(self, kind: Kind, call: Call) -> Response:
        limit, offset = window(call)
        limit = min(limit, self.settings.page_size)
        listing = self.tree.listing(kind)
        within = updated(call)
        ids = listing.ids if within is None else listing.updated(*within)
        bodies = listing.page(offset, limit, ids)
        more = offset + limit < len(ids)
        envelope = {
            "offset": offset,
            "limit": limit,
            "size": len(bodies),
            "_links": {
                "next": link(call, limit, offset + limit) if more else None,
                "prev": link(call, limit, max(offset - limit, 0)) if offset else None,
            },
        }
        body = b'%s,"%s":[%s]}' % (orjson.dumps(envelope)[:-1], FIELDS[kind].encode(), b",".join(bodies))
        return Response(body, media_type="application/json")


def _unless_known(request: Request, answer: Response) -> Response:
    """304 to who has it already, by its ETag."""
    answer.headers["ETag"] = f'"{sha256(answer.body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == answer.headers["ETag"]:
        return Response(status_code=304, headers={"ETag": answer.headers["ETag"]})
    return answer


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is no JSON ({error}). Send a JSON object.") from None
    if not isinstance(value, dict):
        raise HTTPException(400, 'The body is no JSON object. Send one like {"count": 10}.')
    return value


def _answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


# ---- errors --------------------------------------------------------------------------------------------


async def _http_error(_: Request, error: HTTPException) -> Response:
    return _answer({"error": error.detail}, error.status_code, error.headers)


async def _unknown(_: Request, error: Unknown) -> Response:
    return _answer({"error": f"{error.what}. {error.remedy}"}, 404)


async def _impossible(_: Request, error: Impossible) -> Response:
    return _answer({"error": f"{error.what}. {error.remedy}"}, 400)


async def _misshapen(_: Request, error: ValidationError) -> Response:
    reasons = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return _answer({"error": f"The body does not fit: {'; '.join(reasons)}"}, 400)


# ---- serving -------------------------------------------------------------------------------------------


def application(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Starlette:
    sample = Sample(settings, clock)
    return Starlette(
        routes=[
            Route("/index.php", sample.api),
            Route("/_sample/expected", sample.expected),
            Route("/_sample/stats", sample.read_stats),
            Route("/_sample/reset_stats", sample.reset_stats, methods=["POST"]),
            Route("/_sample/{verb}", sample.change, methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: _http_error,
            Unknown: _unknown,
            Impossible: _impossible,
            ValidationError: _misshapen,
        },
    )


class _Server(uvicorn.Server):
    def __init__(self, app: Starlette, ready: str) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False))
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._ready, flush=True)


def serve(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM."""
    with _listening(settings.host, settings.port) as listener:
        size = f"{settings.cases:,} cases in {settings.directories:,} directories"
        address = f"http://{settings.host}:{listener.getsockname()[1]}"
        server = _Server(application(settings), f"sample source: {size} at {address}")
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn raises the signal again once it has ended; to its own handler that means nothing.
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """Bound before anything else, so that port 0 has its number and a taken port is noticed at once."""
    # Only sockets that name TCP get TCP_NODELAY from asyncio; without it every small answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
        return listener
    except OSError as error:
        listener.close()
        raise Misconfigured(
            "the sample source cannot listen at {host}:{port} ({why})",
            "Take a free port with: collect sample --port 0",
            code="COL-0207",
            host=host,
            port=port,
            why=error.strerror,
        ) from None
