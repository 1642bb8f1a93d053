"""Who may do what: every route needs a role, which stands in one table; what does not stand there is for admins."""

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from blocks.acting import acting
from blocks.sql.keys import Caller, Role
from collectors.errors import CollectError
from collectors.pacing import Bucket
from collectors.validating import nearest
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
    "definition": Role.VIEWER,
    "versions": Role.VIEWER,
    "schedules": Role.VIEWER,
    "pause_schedule": Role.OPERATOR,
    "resume_schedule": Role.OPERATOR,
    "register": Role.ADMIN,
    "unregister": Role.ADMIN,
    "rollback": Role.ADMIN,
    "start_run": Role.OPERATOR,
    "pause": Role.OPERATOR,
    "resume": Role.OPERATOR,
    "retry": Role.OPERATOR,
    "cancel": Role.OPERATOR,
    "pause_shard": Role.OPERATOR,
    "resume_shard": Role.OPERATOR,
    "retry_shard": Role.OPERATOR,
    "cancel_shard": Role.OPERATOR,
    "history": Role.VIEWER,
    "diff": Role.VIEWER,
    "watermark": Role.VIEWER,
    "set_watermark": Role.OPERATOR,
    "config": Role.VIEWER,
    "config_history": Role.VIEWER,
    "set_config": Role.OPERATOR,
    "unset_config": Role.OPERATOR,
    "bump_epoch": Role.ADMIN,
    "audit": Role.ADMIN,
}
LARGEST_BODY = 64 * 1024  # bytes; an import looks after itself
LONGEST_KEY = 100  # characters
SECONDS_KNOWN = 5.0  # after which a key that was revoked is not let in any more
ANYBODY, NOBODY = "/open", "/unknown"  # who counts beside the tenants, none of which is called so
log = logging.getLogger(__name__)


class Guard:
    """Knows for a moment whose key it was, so that a key costs a question to the database only now and then.

    Of keys that were never valid only so many are looked up.
    """

    def __init__(
        self,
        lookup: Callable[[str], Caller | None],
        rate: float,
        live: Callable[[str, float], float] = lambda _, rate: rate,
    ) -> None:
        """`rate`: requests a second of one tenant in this process; `live` says what is set of it instead."""
        self._lookup, self._rate, self._live = lookup, rate, live
        self._known: dict[str, tuple[float, Caller]] = {}
        self._buckets: dict[str, Bucket] = {}

    async def admitted(self, authorization: str, route: str) -> Caller | None:
        """Who asks.

        Raises HttpError: 401 without a valid key, 403 when its role is not enough, 429 when too often, 503 while keys
        cannot be looked up.
        """
        needed = NEEDED.get(route, Role.ADMIN)
        if needed is None:
            self._count(ANYBODY)
            return None
        caller = await self._caller(authorization)
        if caller is None:
            raise _unknown()
        self._count(caller.tenant)
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
        until, caller = self._known.get(key, (float("-inf"), None))
        if until > time.monotonic():
            return caller
        if caller is None:
            self._count(NOBODY)
        if scheme.lower() != "bearer" or not 0 < len(key) <= LONGEST_KEY:
            return None
        return await self._looked_up(key)

    async def _looked_up(self, key: str) -> Caller | None:
        asked_at = time.monotonic()
        try:
            caller = await to_thread.run_sync(self._lookup, key)
        except CollectError as error:
            log.warning("%s", error)
            raise _no_lookup() from None
        self._known.pop(key, None)
        if caller:
            self._known[key] = asked_at + SECONDS_KNOWN, caller
        return caller

    def _count(self, tenant: str) -> None:
        rate = self._live(tenant, self._rate)
        bucket = self._buckets.setdefault(tenant, Bucket(rate, rate))
        bucket.allow(rate, rate)
        if seconds := bucket.take():
            error = HttpError(
                "more than {rate:g} requests a second",
                "Wait, and ask less often.",
                status=429,
                code="COL-0805",
                rate=rate,
            )
            error.headers = {"Retry-After": str(max(1, round(seconds)))}
            raise error


def _no_lookup() -> HttpError:
    """Without the reason, which names addresses: whoever asks is not known."""
    return HttpError(
        "the database that knows the keys does not answer",
        "Try again in a moment; whoever runs the service finds the reason with: collect storage check",
        status=503,
        code="COL-0813",
    )


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
        known = sorted(each.alias for each in self.dependant.query_params)

        async def guarded(request: Request) -> Response:
            guard: Guard = request.app.state.guard
            caller = await guard.admitted(request.headers.get("authorization", ""), name)
            request.state.caller = caller
            if unknown := sorted(request.query_params.keys() - known):
                raise _unknown_parameter(unknown[0], known)
            if name != "import_":
                request = limited(request, LARGEST_BODY)
                await request.body()  # kept in it; what is too large must not look like JSON that is broken
            if caller is None:
                return await answer(request)
            with acting(f"key:{caller.key_id}"):
                return await answer(request)

        return guarded


def limited(request: Request, most: int) -> Request:
    """The request, whose body raises HttpError as soon as it is known that it is larger than `most` bytes."""
    told, came = request.headers.get("content-length", ""), 0
    if told.isdigit() and int(told) > most:
        raise too_large(most)

    async def receive() -> Any:
        nonlocal came
        message = await request.receive()
        came += len(message.get("body", b""))
        if came > most:
            raise too_large(most)
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
