"""Errors as answers: problem+json (RFC 9457) with the code, and what to do about it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from collectors.errors import CollectError, Misconfigured, Refused, Rejected, Transient, Unreachable, Unusable, named
from collectors.validating import plain

MEDIA_TYPE = "application/problem+json"
SECONDS_TO_WAIT = 5
NOT_THERE = frozenset(
    [
        "COL-0204",
        "COL-0205",
        "COL-0228",
        "COL-0245",
        "COL-0277",
        "COL-0282",
        "COL-0283",
        "COL-0285",
        "COL-0288",
        "COL-0297",
    ]
)
OF_THE_SERVERS = ("COL-06", "COL-07")
OF_HTTP = {404: "nothing is at {path}", 405: "{path} does not know {method}"}
STATUSES: Sequence[tuple[type[CollectError], int]] = (
    (Refused, 409),
    (Misconfigured, 422),
    (Rejected, 422),
    (Unreachable, 503),
    (Unusable, 503),
    (Transient, 503),
)


class HttpError(CollectError):
    """An answer of the service itself."""

    code = "COL-0800"

    def __init__(self, what: str, remedy: str = "", /, *, status: int, code: str, **facts: Any) -> None:
        super().__init__(what, remedy, code=code, **facts)
        self.status = status
        self.headers: dict[str, str] = {}
        self.errors: Sequence[dict[str, Any]] = ()


def status_of(error: CollectError) -> int:
    if isinstance(error, HttpError):
        return error.status
    if error.code in NOT_THERE:
        return 404
    if isinstance(error, Misconfigured) and error.code.startswith(OF_THE_SERVERS):
        return 503
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def answered(error: CollectError) -> Response:
    status = status_of(error)
    headers: dict[str, str] = {"Retry-After": str(SECONDS_TO_WAIT)} if status == 503 else {}
    errors: Sequence[Mapping[str, Any]] = ()
    if isinstance(error, HttpError):
        headers, errors = headers | error.headers, error.errors
    problem = {
        "type": f"urn:platform-collect:{error.code.lower()}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.what,
        "code": error.code,
        "remedy": error.remedy,
    } | ({"errors": errors} if errors else {})
    return Response(orjson.dumps(problem), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Whatever goes wrong is answered in this form."""

    async def ours(_: Request, error: Any) -> Response:
        return answered(error)

    async def foreign(_: Request, error: Exception) -> Response:
        return answered(named(error))

    async def http(request: Request, error: Any) -> Response:
        remedy = "What there is: GET /openapi.json"
        facts = {"method": request.method, "path": f"{request.url.path:.100}", "why": error.detail}
        what = OF_HTTP.get(error.status_code, "the request cannot be answered ({why})")
        known = HttpError(what, remedy, status=error.status_code, code="COL-0809", **facts)
        known.headers = dict(error.headers or {})
        return answered(known)

    async def invalid(_: Request, error: Any) -> Response:
        return answered(_invalid(error))

    async def gone(*_: Any) -> Response:
        return Response(status_code=400)  # which nobody reads

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(CollectError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, foreign)


def _invalid(error: RequestValidationError) -> HttpError:
    found = [{"at": _place(each["loc"]), "what": plain(each["msg"])} for each in error.errors()]
    first = found[0]
    known = HttpError(
        "{at}: {what}",
        "Correct what is listed, and send it again; GET /openapi.json says what is expected.",
        status=422,
        code="COL-0806",
        at=first["at"],
        what=first["what"],
    )
    known.errors = found
    return known


def _place(where: Sequence[Any]) -> str:
    return "/" + "/".join(map(str, where))
