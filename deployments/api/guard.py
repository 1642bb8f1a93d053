"""Who may do what: every route needs a role, which stands in one table; what does not stand there is refused."""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from blocks.sql.keys import Caller, Role
from collectors.language import LANGUAGE
from collectors.pacing import Bucket
from collectors.registry import nearest
from deployments.api.problems import HttpError

# The names of the routes; None: open to anybody.
NEEDED: dict[str, Role | None] = {
    "health": None,
    "tree": Role.VIEWER,
    "search": Role.VIEWER,
    "detail": Role.VIEWER,
    "collections": Role.VIEWER,
    "runs": Role.VIEWER,
    "status": Role.VIEWER,
    "shards": Role.VIEWER,
    "quarantine": Role.VIEWER,
    "import_": Role.OPERATOR,
    "start_run": Role.OPERATOR,
}
LARGEST_BODY = 64 * 1024  # bytes; an import looks after itself
SECONDS_KNOWN = 5.0  # after which a key that was revoked is not let in any more
MOST_KNOWN = 10_000
ANYBODY, NOBODY = "/open", "/unknown"  # who counts beside the tenants, none of which is called so


class Guard:
    """Knows for a moment whose key it was, so that a key costs a question to the database only now and then."""

    def __init__(self, lookup: Callable[[str], Caller | None], rate: float) -> None:
        """`rate`: requests a second of one tenant in this process."""
        self._lookup, self._rate = lookup, rate
        self._known: dict[str, tuple[float, Caller | None]] = {}
        self._buckets: dict[str, Bucket] = {}

    async def admitted(self, authorization: str, route: str) -> Caller | None:
        """Who asks. Raises HttpError: 401 without a valid key, 403 when its role is not enough, 429 when too often."""
        needed = NEEDED.get(route, Role.ADMIN)
        if needed is None:
            self._count(ANYBODY)
            return None
        caller = await self._caller(authorization)
        self._count(caller.tenant if caller else NOBODY)
        if caller is None:
            raise _unknown()
        if caller.role < needed:
            raise HttpError(
                "this needs the role {needed}, and the key has {role}",
                "Ask for a key: collect keys create --role {needed}",
                status=403,
                code="COL-0802",
                needed=needed.name.lower(),
                role=caller.role.name.lower(),
            )
        return caller

    async def _caller(self, authorization: str) -> Caller | None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            return None
        until, caller = self._known.get(key, (float("-inf"), None))
        if until < time.monotonic():
            caller = await to_thread.run_sync(self._lookup, key)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = time.monotonic() + SECONDS_KNOWN, caller
        return caller

    def _count(self, tenant: str) -> None:
        bucket = self._buckets.setdefault(tenant, Bucket(self._rate, self._rate))
        if seconds := bucket.take():
            error = HttpError(
                "more than {rate:g} requests a second",
                "Wait, and ask less often.",
                status=429,
                code="COL-0805",
                rate=self._rate,
            )
            error.headers = {"Retry-After": str(max(1, round(seconds)))}
            raise error


def _unknown() -> HttpError:
    error = HttpError(
        "no valid key was sent",
        "Send it as Authorization: Bearer KEY; make one with: collect keys create --role viewer",
        status=401,
        code="COL-0801",
    )
    error.headers = {"WWW-Authenticate": "Bearer"}
    return error


def _unknown_parameter(name: str, known: Sequence[str]) -> HttpError:
    return HttpError(
        "there is no parameter {name!r} here. {guess}Known: {known}",
        "Correct its name; GET /openapi.json says what is expected.",
        status=422,
        code="COL-0806",
        name=f"{name:.60}",
        guess=nearest(name, known),
        known=", ".join(known) or "-",
    )


class Guarded(APIRoute):
    """Looks at the key before anything else of a request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer, name = super().get_route_handler(), self.name

        async def guarded(request: Request) -> Response:
            LANGUAGE.set("zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en")
            guard: Guard = request.app.state.guard
            request.state.caller = await guard.admitted(request.headers.get("authorization", ""), name)
            known = {each.alias for each in self.dependant.query_params}
            if unknown := sorted(request.query_params.keys() - known):
                raise _unknown_parameter(unknown[0], sorted(known))
            if name != "import_":
                request = _limited(request)
                await request.body()  # kept in it; what is too large must not look like JSON that is broken
            return await answer(request)

        return guarded


def _limited(request: Request) -> Request:
    left = LARGEST_BODY

    async def receive() -> Any:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large(LARGEST_BODY)
        return message

    return Request(request.scope, receive)


def too_large(most: int) -> HttpError:
    return HttpError(
        "the body is larger than {most:,} bytes",
        "Send less at once; an import of any size goes as JSON lines (application/x-ndjson).",
        status=413,
        code="COL-0803",
        most=most,
    )
