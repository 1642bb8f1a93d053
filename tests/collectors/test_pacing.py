"""Pauses: what a source's header asks for, and nobody goes before the time it named."""

import asyncio
from datetime import UTC, datetime
from itertools import islice

import pytest

from collectors.pacing import LONGEST_PAUSE, LOOK_EVERY, USUAL_PAUSE, Bucket, Pace, pauses, retry_after

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


def test_a_bucket_whose_rate_is_changed_keeps_what_had_come_till_then():
    now = [0.0]
    bucket = Bucket(10, 10, lambda: now[0])
    assert [bucket.take() for _ in range(10)] == [0] * 10
    now[0] = 0.3
    bucket.allow(1, 1)
    assert [bucket.take() > 0 for _ in range(2)] == [False, True]
    now[0] = 0.8
    bucket.allow(100, 5)
    assert bucket.take() == pytest.approx(0.005)
    now[0] = 0.9
    assert [bucket.take() > 0 for _ in range(6)] == [False] * 5 + [True]


async def turns(pace, clock, count):
    """When each of so many who come at once has its turn."""
    came = []

    async def one(number):
        await pace.turn()
        came.append((number, clock.now))

    await asyncio.gather(*(one(number) for number in range(count)))
    return came


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on when somebody sleeps."""
    clock, sleep = Clock(), asyncio.sleep

    async def slept(seconds):
        clock.now += max(seconds, 1e-6)  # no timer is more exact
        await sleep(0)

    monkeypatch.setattr("collectors.pacing.asyncio.sleep", slept)
    return clock


async def test_turns_come_at_the_rate_that_is_allowed_and_first_come_first_served(clock):
    came = await turns(Pace(clock, lambda: 5.0), clock, 21)
    assert [number for number, _ in came] == list(range(21))
    assert came[-1][1] - came[0][1] == pytest.approx(20 / 5.0, abs=0.001)


async def test_a_rate_that_is_changed_is_in_force_for_those_who_wait_already(clock):
    """One in a thousand seconds at first; nobody sleeps until his time has come."""
    rates = iter([0.001] * 10)
    came = await turns(Pace(clock, lambda: next(rates, 100.0)), clock, 5)
    assert came[-1][1] - 1_000.0 < 10 * LOOK_EVERY + 0.1


async def test_without_a_rate_nobody_waits_and_thousands_a_second_are_not_slowed_down_by_timers(clock):
    assert {at for _, at in await turns(Pace(clock), clock, 100)} == {1_000.0}
    came = await turns(Pace(clock, lambda: 10_000.0), clock, 1_000)
    assert came[-1][1] - 1_000.0 == pytest.approx(0.1, abs=0.001)


async def test_who_waits_for_a_pause_takes_no_turn_of_others(clock):
    pace = Pace(clock, lambda: 1.0)
    pace.hold(30)
    came = await turns(pace, clock, 2)
    assert [at - 1_000.0 for _, at in came] == pytest.approx([30, 31])
