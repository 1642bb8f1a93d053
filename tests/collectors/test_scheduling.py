"""When runs are due: as Prefect's scheduler finds it, also where clocks are changed; rules that are wrong."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import Misconfigured
from collectors.models import Collection
from collectors.scheduling import BEGINNING, CHANGE, Blackout, Schedule, Triggers
from collectors.validating import validated

ZONES = ("America/New_York", "Europe/Berlin", "Asia/Shanghai", "Australia/Lord_Howe", "Australia/Sydney", "UTC")
CRONS = (
    "0 2 * * *",
    "30 2 * * *",
    "*/7 * * * *",
    "30 1 * * 0",
    "0 * * * *",
    "15 1-3 * * *",
    "0 0 1 * *",
    "0 9 * * 1-5",
)
RECURRENCES = ("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0", "FREQ=WEEKLY", "FREQ=MONTHLY;BYDAY=-1FR")
RULES = st.one_of(
    st.builds(dict, cron=st.sampled_from(CRONS), timezone=st.sampled_from(ZONES)),
    st.builds(dict, rrule=st.sampled_from(RECURRENCES), timezone=st.sampled_from(ZONES)),
    st.builds(dict, interval=st.sampled_from((1, 60, 100, 3_600, 86_400, 100_000))),
)
# Around the days on which clocks are changed, more often than not.
TIMES = st.builds(
    lambda month, minutes: datetime(2026, month, 1, tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from((3, 4, 7, 10, 11)),
    st.integers(0, 30 * 24 * 60),
)


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def of_prefect(rule, start):
    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    if interval := rule.get("interval"):
        anchor = BEGINNING.replace(tzinfo=UTC)
        made = IntervalSchedule(interval=timedelta(seconds=interval), anchor_date=anchor, timezone="UTC")
    else:
        made = (CronSchedule if "cron" in rule else RRuleSchedule)(**rule)
    # It begins with the time it is given.
    found = asyncio.run(made.get_dates(5, start=start + timedelta(seconds=1)))
    return sorted({datetime.fromtimestamp(each.timestamp(), UTC) for each in found})


@settings(max_examples=150, deadline=None)
@given(RULES, TIMES)
def test_it_is_due_when_prefects_scheduler_says_so(rule, start):
    schedule = Schedule(**rule)
    theirs = of_prefect(rule, start)
    known = [schedule.known_as(each) for each in theirs]
    assert known == [*islice(schedule.ticks(start), len(theirs))]
    moved = [each for each, ours in zip(theirs, known, strict=True) if each != ours]
    assert len(moved) <= 1
    assert all(abs(each - schedule.known_as(each)) <= CHANGE for each in moved)


def test_a_time_that_prefect_takes_for_an_hour_earlier_is_the_same_one():
    """As it does on the day on which clocks are put forward, with Python before 3.13."""
    nightly = Schedule(cron="30 2 * * *", timezone="America/New_York")
    assert nightly.known_as(at("2026-03-08T01:30:00-05:00")) == at("2026-03-08T03:30:00-04:00")
    assert nightly.known_as(at("2026-03-07T02:30:00-05:00")) == at("2026-03-07T02:30:00-05:00")
    assert nightly.known_as(at("2026-03-07T12:00:00-05:00")) == at("2026-03-07T12:00:00-05:00")


def test_a_time_that_the_clocks_leave_out_is_due_an_hour_later_and_one_that_comes_twice_is_due_once():
    nightly = Schedule(cron="30 2 * * *", timezone="America/New_York")
    spring = islice(nightly.ticks(at("2026-03-07T12:00:00-05:00")), 2)
    assert [*spring] == [at("2026-03-08T03:30:00-04:00"), at("2026-03-09T02:30:00-04:00")]
    autumn = islice(Schedule(cron="30 1 * * *", timezone="America/New_York").ticks(at("2026-10-31T12:00:00-04:00")), 2)
    assert [*autumn] == [at("2026-11-01T01:30:00-04:00"), at("2026-11-02T01:30:00-05:00")]


@settings(max_examples=50, deadline=None)
@given(RULES, TIMES)
def test_whoever_begins_to_look_later_finds_the_same_times(rule, start):
    first, second, third = islice(Schedule(**rule).ticks(start), 3)
    assert [*islice(Schedule(**rule).ticks(first), 2)] == [second, third]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"cron": "0 2 * *"}, "0 2 * * is no cron expression"),
        ({"cron": "61 2 * * *"}, "is no cron expression"),
        ({"cron": "H 2 * * *"}, "is no cron expression"),
        (
            {"cron": "0 2 * * *", "timezone": "asia/shangai"},
            "there is no time zone asia/shangai; write it as Asia/Shanghai",
        ),
        ({"cron": "0 2 * * *", "interval": 60}, "exactly one of cron, interval and rrule"),
        ({}, "exactly one of cron, interval and rrule"),
        ({"interval": 60, "timezone": "Asia/Shanghai"}, "takes no timezone"),
        ({"interval": 0}, "greater than or equal to 1"),
        ({"rrule": "FREQ=SOMETIMES"}, "is no recurrence"),
        ({"rrule": "FREQ=HOURLY"}, "use cron, or an interval"),
        ({"rrule": "FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=0,10,20,30,40"}, "24 times a day at most"),
        ({"rrule": "DTSTART:19000101T000000\nRRULE:FREQ=DAILY"}, "begins in 2020 or later"),
        ({"rrule": "DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY"}, "without Z or TZID"),
        ({"rrule": "FREQ=DAILY;UNTIL=20300101T000000Z"}, "without Z or TZID"),
        ({"rrule": "FREQ=DAILY;INTERVAL=0"}, "is no recurrence"),
        ({"rrule": "freq=secondly"}, "use cron, or an interval"),
        ({"rrule": "FREQ=DAILY;BYHOUR=1\nEXRULE:FREQ=DAILY;BYHOUR=1"}, "is no recurrence"),
        ({"cron": "0 2 * * *", "timezone": "localtime"}, "there is no time zone localtime"),
        ({"cron": "0 2 * * *", "slug": "Every night"}, "lower-case letters"),
        ({"croon": "0 2 * * *"}, "Did you mean cron?"),
        ({"cron": "0 2 * * *", "mode": "range"}, "mode range needs a scope"),
        ({"cron": "0 2 * * *", "parameters": {"scope": {"ids": "1.."}}}, "a scope belongs to mode range"),
    ],
)
def test_a_rule_that_is_wrong_is_told_by_its_key(rule, said):
    definition = {"name": "cases", "collector": "testrail", "source": {}, "schedule": rule}
    with pytest.raises(Misconfigured) as caught:
        validated(Collection, definition, "")
    assert said in str(caught.value)


def test_to_read_a_rule_does_not_try_it():
    """One that never comes would be looked for until the year 9999, by whoever reads the definition."""
    began = time.monotonic()
    Schedule(rrule="FREQ=DAILY;BYSETPOS=5")
    assert time.monotonic() - began < 1


def test_a_blackout_that_ends_where_it_starts_is_refused():
    with pytest.raises(ValueError, match="start and end are the same"):
        Blackout(start="09:00", end="09:00")


def test_two_schedules_of_one_name_are_refused():
    twice = [{"interval": 60, "slug": "a"}, {"interval": 70, "slug": "a"}]
    with pytest.raises(ValueError, match="two schedules are called a"):
        Collection(name="cases", collector="testrail", source={}, schedule=twice)


def test_one_schedule_may_stand_by_itself_and_is_kept_as_a_list():
    one = Collection(name="cases", collector="testrail", source={}, schedule={"cron": "0 2 * * *"})
    assert one.schedule[0].slug == "default"
    assert Collection.model_validate_json(one.model_dump_json()) == one


def test_what_a_schedule_begins_is_of_its_own_mode_and_scope():
    schedules = [
        {"slug": "some", "interval": 60, "mode": "range", "parameters": {"scope": {"ids": "5.."}}},
        {"slug": "all", "interval": 60},
    ]
    definition = Collection(name="c", collector="testrail", source={}, mode="incremental", schedule=schedules)
    mode, scope = definition.due_by(definition.schedule[0])
    assert (mode, scope.ids) == ("range", "5..")
    assert definition.due_by(definition.schedule[1])[0] == "incremental"


@pytest.mark.parametrize(
    ("window", "dark", "light"),
    [
        ({"start": "08:00", "end": "20:00"}, "2026-05-04T08:00:00Z", "2026-05-04T20:00:00Z"),
        ({"start": "22:00", "end": "06:00", "days": ["fri"]}, "2026-05-09T05:59:00Z", "2026-05-10T05:59:00Z"),
        ({"start": "22:00", "end": "06:00", "days": ["fri"]}, "2026-05-08T22:00:00Z", "2026-05-07T22:00:00Z"),
        (
            {"start": "08:00", "end": "09:00", "timezone": "Asia/Shanghai"},
            "2026-05-04T00:30:00Z",
            "2026-05-04T08:30:00Z",
        ),
    ],
)
def test_nothing_is_due_in_a_blackout(window, dark, light):
    assert Blackout(**window).holds(at(dark))
    assert not Blackout(**window).holds(at(light))
    assert Triggers(blackout=[window]).is_dark(at(dark))


def test_a_rule_is_said_in_words():
    schedule = Schedule(cron="30 2 * * 1-5")
    assert schedule.words("en") == "At 02:30, Monday through Friday"
    assert schedule.words("zh") == "在 02:30, 星期一 到 星期五"
    assert Schedule(interval=90).words("en") == "every 90 s"
