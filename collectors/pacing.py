"""How gently a source is treated: pauses it asked for, shared by everybody who talks to it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 3600.0
USUAL_PAUSE = 5.0
LEAST_PAUSE = 0.1
LEAST_IN_THE_END = 60.0


def retry_after(value: str | None, now: datetime) -> float:
    """The seconds a Retry-After header asks for, given as seconds or as a date; capped at an hour.

    A missing or unreadable header means a usual pause, and nothing means less than a tenth of a second:
    a source that says "0" while it refuses would be hammered otherwise.
    """
    seconds = USUAL_PAUSE if value is None else _seconds(value.strip(), now)
    return min(max(seconds, LEAST_PAUSE), LONGEST_PAUSE)


def pauses(first: float = LEAST_PAUSE, last: float = LEAST_IN_THE_END) -> Iterator[float]:
    """The seconds to wait, at least, when something has to be waited for again and again: doubled each time."""
    while True:
        yield first
        first = min(first * 2, last)


def _seconds(value: str, now: datetime) -> float:
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return USUAL_PAUSE
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()


class Pace:
    """No request before the time the source named; one instance for all shards that share a source."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open_at = 0.0

    def hold(self, seconds: float) -> None:
        self._open_at = max(self._open_at, self._clock() + seconds)

    @property
    def remaining(self) -> float:
        return max(0.0, self._open_at - self._clock())

    async def turn(self) -> None:
        while (remaining := self.remaining) > 0:
            await asyncio.sleep(remaining)


class Bucket:
    """A token bucket: `rate` turns a second on the average, and `burst` of them at once.

    Turner, New Directions in Communications, 1986.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()

    def take(self) -> float:
        """0 when this is one's turn, else the seconds until the next one comes; none is taken then."""
        now = self._clock()
        self._tokens, self._at = min(self._burst, self._tokens + (now - self._at) * self._rate), now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0
