"""Pauses: what a source's header asks for, and nobody goes before the time it named."""

from datetime import UTC, datetime
from itertools import islice

import pytest

from collectors.pacing import LONGEST_PAUSE, USUAL_PAUSE, Bucket, Pace, pauses, retry_after

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)
LEAST = 0.1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, USUAL_PAUSE),
        ("", USUAL_PAUSE),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", LEAST),
        ("3600", LONGEST_PAUSE),
        ("3601", LONGEST_PAUSE),
        ("31536000", LONGEST_PAUSE),
        ("9" * 5_000, LONGEST_PAUSE),
        ("-5", USUAL_PAUSE),
        ("1.5", USUAL_PAUSE),
        ("1e3", USUAL_PAUSE),
        ("soon", USUAL_PAUSE),
        ("٣", USUAL_PAUSE),
        ("²", USUAL_PAUSE),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30", 30.0),
        ("Wed, 21 Oct 2026 09:28:30 +0200", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", LEAST),
        ("Thu, 21 Oct 2027 07:28:00 GMT", LONGEST_PAUSE),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("Mon, 01 Jan 0001 00:00:00 +2300", LEAST),
        ("Wed, 99 Oct 2026 07:28:30 GMT", USUAL_PAUSE),
        ("Wed, 21 Oct 99999 07:28:30 GMT", USUAL_PAUSE),
        ("Wed, 21 Oct 99999999999999999999 07:28:30 GMT", USUAL_PAUSE),
        ("Wed, 21 Oct 2026 07:28:30 +99999999999999", USUAL_PAUSE),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header, NOW) == seconds


def test_pauses_double_up_to_the_last():
    assert list(islice(pauses(1.0, 5.0), 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]


class Clock:
    """Time that goes on by `step` whenever somebody looks."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 1_000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_at_first_nobody_waits():
    assert Pace(Clock()).remaining == 0.0


def test_a_hold_runs_out_with_time():
    clock = Clock()
    pace = Pace(clock)
    pace.hold(30)
    assert pace.remaining == 30.0
    clock.now += 10
    assert pace.remaining == 20.0
    clock.now += 21
    assert pace.remaining == 0.0


def test_a_shorter_hold_does_not_shorten_a_longer_one():
    clock = Clock()
    pace = Pace(clock)
    pace.hold(30)
    clock.now += 5
    pace.hold(1)
    assert pace.remaining == 25.0
    pace.hold(40)
    assert pace.remaining == 40.0


async def test_nobody_has_a_turn_before_the_time_named():
    clock = Clock(step=0.001)
    pace = Pace(clock)
    pace.hold(0.02)
    held_until = clock.now + 0.02
    await pace.turn()
    assert clock.now >= held_until


async def test_a_turn_waits_again_when_the_hold_was_prolonged_meanwhile():
    """The second look finds a longer hold, as when another shard was asked to wait too."""
    pace: Pace

    class Prolonged(Clock):
        looks = 0

        def __call__(self) -> float:
            self.looks += 1
            if self.looks == 4:
                pace.hold(0.03)
            return super().__call__()

    clock = Prolonged(step=0.001)
    pace = Pace(clock)
    pace.hold(0.005)
    await pace.turn()
    assert clock.now >= 1_000.0 + 0.03


def test_a_bucket_gives_a_burst_and_then_its_rate():
    now = [0.0]
    bucket = Bucket(10, 3, lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(0.1)
    now[0] += 0.1
    assert bucket.take() == 0
    assert bucket.take() > 0


def test_a_bucket_holds_no_more_than_a_burst_however_long_nobody_comes():
    now = [0.0]
    bucket = Bucket(10, 3, lambda: now[0])
    now[0] = 1e6
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]
