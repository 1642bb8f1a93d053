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
LOOK_EVERY = 0.25  # seconds after which who waits for long looks whether it still has to
EVENED_OUT = 0.05  # seconds whose requests may come at once: timers are not exact enough for each of thousands


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
    """No request before the time the source named, nor more of them than are allowed; one instance for all shards that
    share a source."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, rate: Callable[[], float | None] = lambda: None
    ) -> None:
        """`rate`: how many requests a second are allowed now; None: as many as come."""
        self._clock, self._rate = clock, rate
        self._open_at = 0.0
        self._bucket = Bucket(0.0, 1.0, clock)
        self._queue = asyncio.Lock()

    def hold(self, seconds: float) -> None:
        self._open_at = max(self._open_at, self._clock() + seconds)

    @property
    def remaining(self) -> float:
        return max(0.0, self._open_at - self._clock())

    async def turn(self) -> None:
        """First come, first served."""
        async with self._queue:
            while (pause := self.remaining or self._taken()) > 0:
                await asyncio.sleep(min(pause, LOOK_EVERY))

    def _taken(self) -> float:
        if (rate := self._rate()) is None:
            return 0.0
        self._bucket.allow(rate, max(1.0, rate * EVENED_OUT))
        return self._bucket.take()


class Bucket:
    """A token bucket: `rate` turns a second on the average, and `burst` of them at once.

    Turner, New Directions in Communications, 1986.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()

    def allow(self, rate: float, burst: float) -> None:
        """From now on."""
        if (rate, burst) != (self._rate, self._burst):
            self._fill()
            self._rate, self._burst = rate, burst

    def take(self) -> float:
        """0 when this is one's turn, else the seconds until the next one comes; none is taken then."""
        self._fill()
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def _fill(self) -> None:
        now = self._clock()
        self._tokens, self._at = min(self._burst, self._tokens + (now - self._at) * self._rate), now
