"""When a collection is due by itself: rules in cron, intervals or recurrences, and what may keep a run from beginning.

Times are what Prefect's own scheduler makes of the same rules. Where clocks are put forward it depends on its version
of Python whether a time that is left out is an hour early or late: `known_as` tells which of ours is meant.
"""

import calendar
import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from functools import cached_property
from itertools import takewhile
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LONGEST_SLUG = 64
BEGINNING = datetime(2020, 1, 1)  # where intervals, and recurrences without DTSTART, are counted from
SHORTEST = 1  # seconds
CHANGE = timedelta(hours=1)  # of a clock, at most
MOST_A_DAY = 24  # times of a recurrence
RECURRENCE = re.compile(
    r"(DTSTART:(?P<year>\d{4})\d{4}T\d{6}\n)?(RRULE:)?FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;[A-Z]+=[A-Z0-9,+-]+)*"
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# What cron-descriptor leaves as the locale of the process has it.
NAMES = {name: f"{number} 月" for number, name in enumerate(calendar.month_name) if name} | {
    name: f"星期{number}" for name, number in zip(calendar.day_name, "一二三四五六日", strict=True)
}
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Overlap = Literal["refuse", "queue", "replace", "allow"]


def _zone(name: str) -> str:
    try:
        if name in ("localtime", "Factory"):  # another one on each machine
            raise ValueError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = {each.casefold(): each for each in available_timezones()}
        near = get_close_matches(name.casefold(), known, n=1)
        meant = known[near[0]] if near else "Asia/Shanghai"
        raise ValueError(f"there is no time zone {name:.60}; write it as {meant}") from None
    return name


def _slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", value):
        raise ValueError("has to be lower-case letters, digits and hyphens, such as every-night")
    return value


def _clock(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError('has to be a time of day in quotes, such as "08:30"')
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Slug = Annotated[str, Field(max_length=LONGEST_SLUG), AfterValidator(_slug)]
Clock = Annotated[str, BeforeValidator(_clock)]


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameters(_Rules):
    """What is told to runs that a schedule begins."""

    scope: dict[str, Any] | None = Field(None, description="what runs of mode range are about; else the collection's")


class Schedule(_Rules):
    """Times at which a run is due."""

    slug: Slug = Field("default", description="what the schedule is called, here and in Prefect")
    cron: str | None = Field(None, max_length=200, description='such as "0 2 * * *": at two in the night')
    interval: float | None = Field(None, ge=SHORTEST, le=366 * 86_400, description="seconds from one run to the next")
    rrule: str | None = Field(None, max_length=6_500, description='a recurrence of RFC 5545, such as "FREQ=WEEKLY"')
    timezone: Zone = Field("UTC", description="where cron and rrule tell the time")
    mode: Literal["full", "incremental", "range"] | None = Field(
        None, description="of these runs; else the collection's"
    )
    parameters: Parameters = Field(Parameters(), description="further ones of these runs: scope")
    active: bool = Field(True, description="whether it is switched on when it is registered first")

    @model_validator(mode="after")
    def _fires(self) -> Self:
        if sum(rule is not None for rule in (self.cron, self.interval, self.rrule)) != 1:
            raise ValueError("needs exactly one of cron, interval and rrule")
        if self.interval is not None and self.timezone != "UTC":
            raise ValueError("an interval counts elapsed time, and takes no timezone; for times of the day use cron")
        self._check()
        return self

    @property
    def rule(self) -> str:
        return self.cron or self.rrule or f"every {self.interval:g} s"

    def _check(self) -> None:
        """Raises ValueError."""
        if self.cron is not None:
            _check_cron(self.cron)
        if self.rrule is not None:
            _check_recurrence(self.rrule)

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """The times at which it is due, each once, later than this one; in UTC."""
        found = self._elapsed(after) if self.interval else self._told(after)
        last = after
        for each in found:
            if each > last:
                yield each
                last = each

    def known_as(self, at: datetime) -> datetime:
        """The time of this schedule that somebody else takes for `at`: that, or the nearest one by a change of the
        clock; `at` itself where there is none."""
        just_before = timedelta(microseconds=1)
        if next(self.ticks(at - just_before), None) == at:
            return at
        near = takewhile((at + CHANGE).__ge__, self.ticks(at - CHANGE - just_before))
        return min(near, key=lambda each: abs(each - at), default=at)

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last time it was due in (since, until]; looked for from the end, as there may be very many."""
        back = timedelta(minutes=1)
        while True:
            found = deque(takewhile(until.__ge__, self.ticks(max(since, until - back))), maxlen=1)
            if found or until - back <= since:
                return next(iter(found), None)
            back *= 4

    def _elapsed(self, after: datetime) -> Iterator[datetime]:
        beginning, step = BEGINNING.replace(tzinfo=UTC), timedelta(seconds=self.interval)
        number = (after - beginning) // step + 1
        while True:
            yield beginning + number * step
            number += 1

    def _told(self, after: datetime) -> Iterator[datetime]:
        """By what clocks there show: a time that is left out is taken for the one an hour later, one that comes twice
        counts the first time."""
        zone = ZoneInfo(self.timezone)
        # Clocks that are set back show times again that were due before.
        shown = after.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3)
        for each in self._shown(shown):
            yield each.replace(tzinfo=zone, fold=0).astimezone(UTC)

    def _shown(self, after: datetime) -> Iterator[datetime]:
        if self.rrule is not None:
            yield from self._recurrence.xafter(after)
            return
        from croniter import CroniterBadDateError, croniter

        times = croniter(self.cron, after)
        while True:
            try:
                yield times.get_next(datetime)
            except CroniterBadDateError:
                return

    @cached_property
    def _recurrence(self) -> Any:
        from dateutil.rrule import rrulestr

        return rrulestr(self.rrule, dtstart=BEGINNING)

    def words(self, language: str) -> str:
        """What the rule says, in `en` or `zh`."""
        if self.cron is None:
            return self.rule
        from cron_descriptor import Options, get_description

        options = Options()
        options.use_24hour_time_format = True
        options.locale_code = {"zh": "zh_CN"}.get(language, "en_US")
        said = get_description(self.cron, options)
        return re.sub("|".join(NAMES), lambda name: NAMES[name[0]], said) if language == "zh" else said


def _check_recurrence(text: str) -> None:
    """A recurrence is counted from its beginning each time it is asked, so it must not come too often, or for ever in
    vain; nothing of it is tried here."""
    from dateutil.rrule import rrulestr

    example = "such as FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0; timezone says where, so without Z or TZID"
    if re.match("(RRULE:)?FREQ=(SECOND|MINUTE|HOUR)LY", text, re.IGNORECASE):
        raise ValueError("a recurrence comes once a day at most; by the hour or more often: use cron, or an interval")
    found = RECURRENCE.fullmatch(text)
    if found is None or re.search(r"INTERVAL=0*(;|$)|UNTIL=\w*Z", text):
        raise ValueError(f"{text:.80} is no recurrence: begin with FREQ, in capitals, {example}")
    a_day = 1
    for values in re.findall(r"BY(?:HOUR|MINUTE|SECOND)=([\d,]*)", text):
        a_day *= values.count(",") + 1
    if a_day > MOST_A_DAY:
        raise ValueError(f"a recurrence comes {MOST_A_DAY} times a day at most, and this one {a_day} times: use cron")
    if found["year"] and int(found["year"]) < BEGINNING.year:
        raise ValueError(f"a recurrence begins in {BEGINNING.year} or later; write a later DTSTART")
    try:
        rrulestr(text, dtstart=BEGINNING)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{text:.80} is no recurrence ({error}), {example}") from None


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def time_of(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _check_cron(text: str) -> None:
    from croniter import CroniterError, croniter

    example = 'write minute, hour, day, month and weekday, such as "30 2 * * 1-5"'
    if len(text.split()) != 5 or re.search(r"[a-zA-Z]*[RH](\(|\b)", text):
        raise ValueError(f"{text:.60} is no cron expression; {example}")
    try:
        croniter(text)
    except (CroniterError, ValueError, KeyError) as error:
        raise ValueError(f"{text:.60} is no cron expression ({error}); {example}") from None


class Blackout(_Rules):
    """A time of the day in which no run begins by itself."""

    start: Clock = Field(description='such as "08:00"')
    end: Clock = Field(description="the first minute after it; before `start`, it is one of the next day")
    days: tuple[Day, ...] = Field(
        DAYS, min_length=1, description="on which it starts: mon, tue, wed, thu, fri, sat, sun"
    )
    timezone: Zone = "UTC"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same: for a whole day, switch schedules off instead")
        return self

    def holds(self, at: datetime) -> bool:
        """Whether it is then."""
        local = at.astimezone(ZoneInfo(self.timezone))
        start, end, now = time.fromisoformat(self.start), time.fromisoformat(self.end), local.time()
        if start < end:
            return start <= now < end and self._starts_on(local)
        return (now >= start and self._starts_on(local)) or (now < end and self._starts_on(local - timedelta(days=1)))

    def _starts_on(self, day: datetime) -> bool:
        return DAYS[day.weekday()] in self.days


class Triggers(_Rules):
    """What becomes of a time at which a run is due."""

    overlap: Overlap = Field(
        "refuse",
        description="while a run of the same mode is under way: refuse the new one, queue it (one at most), have it "
        "replace the one under way, or allow both",
    )
    catch_up: float = Field(
        3_600, ge=0, le=31 * 86_400, description="seconds after which a run that was missed is not made up for any more"
    )
    pause_after_failures: int = Field(
        0,
        ge=0,
        le=1_000,
        description="a schedule is switched off when so many of its runs have failed on end; 0: never",
    )
    blackout: tuple[Blackout, ...] = Field((), max_length=100, description="times of the day in which nothing begins")

    def is_dark(self, at: datetime) -> bool:
        return any(each.holds(at) for each in self.blackout)


def as_list(value: Any) -> Any:
    """One schedule may stand by itself."""
    if isinstance(value, str):
        raise ValueError('has to hold cron, interval or rrule, such as {cron: "0 2 * * *", timezone: Asia/Shanghai}')
    return [value] if isinstance(value, dict) else value


def with_names_of_their_own(schedules: tuple[Schedule, ...]) -> tuple[Schedule, ...]:
    slugs = [each.slug for each in schedules]
    if twice := next((each for each in slugs if slugs.count(each) > 1), None):
        raise ValueError(f"two schedules are called {twice}: give each a slug of its own")
    return schedules


Schedules = Annotated[
    tuple[Schedule, ...], Field(max_length=100), BeforeValidator(as_list), AfterValidator(with_names_of_their_own)
]
