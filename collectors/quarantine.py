"""A record that is refused, as it is set aside: with its reason, and what was sent, cut to what can be kept."""

from typing import Any

import orjson
from pydantic import ConfigDict, TypeAdapter

from collectors.errors import CollectError, Rejected
from collectors.models import Id, Quarantined

TOO_MANY = "COL-0510"
LONGEST_PAYLOAD = 64 * 1024
LONGEST_MESSAGE = 2_000
LONGEST_WORD = 64
_ID = TypeAdapter[str](Id, config=ConfigDict(strict=True))


def quarantined(position: int, item: Any, error: Rejected) -> Quarantined:
    record_id = _identity(error.record_id) or _identity(item.get("id") if isinstance(item, dict) else None)
    message = _written(str(error), LONGEST_MESSAGE).decode()
    reason = _written(error.reason, LONGEST_WORD).decode()
    return Quarantined(position, reason, message, record_id, _payload(item))


def _identity(found: Any) -> str | None:
    """None of what no record can be called: under a name that was made up, the real one would seem to be missing."""
    try:
        return _ID.validate_python(str(found) if type(found) is int else found)
    except ValueError:
        return None


class TooMany(CollectError):
    """More records were refused than is allowed: trying again refuses them again."""


def too_many(run_id: str, count: int, allowed: int) -> TooMany:
    return TooMany(
        "{count} records are quarantined, more than max_errors allows ({allowed})",
        "See why with: collect quarantine {run}; when they are mended: collect retry {run} --scope all",
        code=TOO_MANY,
        count=count,
        allowed=allowed,
        run=run_id,
    )


def _payload(item: Any) -> bytes:
    """What came, as JSON; as Python writes it, if JSON cannot say it."""
    try:
        return orjson.dumps(item, default=repr)[:LONGEST_PAYLOAD]
    except TypeError:
        pass
    try:
        return _written(repr(item), LONGEST_PAYLOAD)
    except RecursionError:
        return b"(nested too deep to be shown)"


def _written(text: str, longest: int) -> bytes:
    """Text that may be none, in bytes that are; cut between characters."""
    return text[:longest].encode(errors="backslashreplace")[:longest].decode(errors="ignore").encode()
