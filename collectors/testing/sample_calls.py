"""How the sample source reads a request as TestRail does: the whole call is the query string."""

import base64
import re
from typing import NamedTuple
from urllib.parse import unquote

from starlette.exceptions import HTTPException

from collectors.models import Kind

PROJECT = SUITE = "1"
UPDATED = ("updated_after", "updated_before")
LISTED: dict[str, Kind] = {"get_sections": "directory", "get_cases": "case"}
SINGLE: dict[str, Kind] = {"get_section": "directory", "get_case": "case"}


class Call(NamedTuple):
    """`/api/v2/get_cases/1&limit=250`, which TestRail takes as its query string."""

    method: str
    target: str
    parameters: dict[str, str]


def parsed(query: bytes) -> Call:
    address, *parameters = unquote(query.decode("latin-1")).split("&")
    found = re.fullmatch(r"/?api/v2/(\w+)/([^/?]*)", address)
    if not found or found[1] not in LISTED | SINGLE:
        known = ", ".join(LISTED | SINGLE)
        raise HTTPException(404, f"Unknown method '{address}'. Ask for /index.php?/api/v2/ and one of {known}.")
    return Call(found[1], found[2], dict(_pair(parameter) for parameter in parameters if parameter))


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name, value


def link(call: Call, limit: int, offset: int) -> str:
    """All that was asked for stays in the link; only the window moves."""
    parameters = call.parameters | {"limit": limit, "offset": offset}
    return f"/api/v2/{call.method}/{call.target}" + "".join(f"&{name}={value}" for name, value in parameters.items())


def window(call: Call) -> tuple[int, int]:
    """The limit and the offset asked for, in a project and suite that exist."""
    parameters = call.parameters
    if call.target != PROJECT:
        raise HTTPException(400, "Field :project_id is not a valid or accessible project.")
    for name in parameters.keys() - {"suite_id", "limit", "offset", *UPDATED}:
        raise HTTPException(400, f"Field :{name} is not supported by the sample source.")
    if parameters.get("suite_id", SUITE) != SUITE:
        raise HTTPException(400, "Field :suite_id is not a valid test suite.")
    limit, offset = parameters.get("limit", "250"), parameters.get("offset", "0")
    if not re.fullmatch("0*[1-9][0-9]{0,8}", limit):
        raise HTTPException(400, "Field :limit is not a number of 1 or more.")
    if not re.fullmatch("[0-9]{1,9}", offset):
        raise HTTPException(400, "Field :offset is not a number of 0 or more.")
    return int(limit), int(offset)


def updated(call: Call) -> tuple[int, int] | None:
    """After and before which moment, both left out, cases have to be updated; None: whenever it was."""
    given = {name: call.parameters.get(name) for name in UPDATED}
    if call.method != "get_cases" or set(given.values()) == {None}:
        return None
    if not all(value is None or re.fullmatch(r"-?[0-9]{1,12}", value) for value in given.values()):
        raise HTTPException(400, "Field :updated_after or :updated_before is not a timestamp.")
    return int(given["updated_after"] or -1), int(given["updated_before"] or 10**12)


def password(header: str) -> bytes:
    scheme, _, credentials = header.partition(" ")
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
    except ValueError:
        return b""
