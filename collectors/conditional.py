"""Asking a source for a page only if it is not as it was (RFC 9110, section 13: If-None-Match and 304)."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from collectors.errors import CollectError


class NotModified(CollectError):
    """The source says that its answer is the one whose ETag it was sent."""


@dataclass
class Condition:
    """What is sent with the first request of a page, and what came back; a page of several requests has no ETag."""

    known: str | None
    requests: int = 0
    answered: str | None = None

    @property
    def etag(self) -> str | None:
        return self.answered if self.requests == 1 else None

    def headers(self) -> dict[str, str]:
        """Of the next request."""
        self.requests += 1
        return {"If-None-Match": self.known} if self.known and self.requests == 1 else {}


_condition: ContextVar[Condition | None] = ContextVar("condition", default=None)


def condition_headers() -> dict[str, str]:
    """What a request has to say that is made now."""
    condition = _condition.get()
    return condition.headers() if condition else {}


def note_etag(etag: str | None) -> None:
    """Of the answer that came now."""
    if condition := _condition.get():
        condition.answered = etag


@contextmanager
def unless(etag: str | None) -> Iterator[Condition]:
    """What is asked for within raises NotModified where it is still the answer with this ETag."""
    condition = Condition(etag)
    token = _condition.set(condition)
    try:
        yield condition
    finally:
        _condition.reset(token)
