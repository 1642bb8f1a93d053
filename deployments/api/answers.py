"""What every answer has: an ETag for who has it already, and cursors for who wants the rest."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import Query, Request, Response

from deployments.api.problems import HttpError

MOST = 1_000
Limit = Annotated[int, Query(ge=1, le=MOST, description="the most items of one answer")]
Cursor = Annotated[str | None, Query(max_length=2_000, description="`next` of the answer before")]


def answer(request: Request, value: Any) -> Response:
    """`value` as JSON; nothing but 304 when that is what the caller has already."""
    body = orjson.dumps(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept-Language"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in [each.strip().removeprefix("W/") for each in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, "application/json")


def listed(request: Request, items: list[Any], following: Any | None) -> Response:
    """A page of a list; `following` is what its next page is told to begin after."""
    return answer(request, {"items": items, "next": following and cursor_of(following)})


def cursor_of(position: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(list(position))).decode().rstrip("=")


def position_of(
    cursor: str | None, kinds: tuple[type, ...], right: Callable[[list[Any]], bool] = lambda _: True
) -> list[Any] | None:
    """What `cursor_of` was given: a list of values of these kinds. Raises HttpError when it is no cursor of ours."""
    if cursor is None:
        return None
    try:
        found = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        found = None
    of_kinds = isinstance(found, list) and list(map(type, found)) == list(kinds)
    if not of_kinds or any(type(each) is int and abs(each) >= 2**63 for each in found) or not right(found):
        raise HttpError(
            "{cursor} is no cursor of this list",
            "Send `next` of the answer before as it is, with the same parameters.",
            status=422,
            code="COL-0810",
            cursor=f"{cursor!r:.60}",
        )
    return found
