"""A time at which a schedule is due is one run: whoever notices it, however often, and whatever is under way."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from blocks.sql.catalog import Catalog
from blocks.sql.config import Config
from blocks.sql.registry import Registry
from blocks.sql.requests import Requests
from blocks.sql.schedules import Schedules
from blocks.sql.ticks import Outcome, Ticks
from collectors.scheduling import micros
from collectors.states import Desired, RunState

ME, OTHER = "far:1:1", "far:2:1"
MINUTE = {"slug": "every-minute", "cron": "* * * * *"}
OF = "default", "cases", "every-minute"
A_MINUTE = 60_000_000


@pytest.fixture
def registry(database):
    return Registry(database)


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def schedules(database):
    return Schedules(database)


@pytest.fixture
def ticks(database):
    return Ticks(database)


@pytest.fixture
def requests(database):
    return Requests(database)


@pytest.fixture
def register(registry, definition):
    def registered(schedule=MINUTE, **triggers):
        registry.register(definition(schedule=schedule, triggers=triggers))

    return registered


@pytest.fixture
def due_since(database, alter):
    """Has the schedule be due since so many minutes ago, as if nobody had looked meanwhile."""

    def since(minutes):
        at = last_minute() - minutes * A_MINUTE
        alter(database, "UPDATE schedule SET next_at = ? WHERE slug = ?", at, OF[2])
        return at

    return since


def last_minute():
    return micros(datetime.now(UTC).replace(second=0, microsecond=0))


def noticed(dump, database):
    return [row[4] for row in sorted(dump(database)["tick"], key=lambda row: row[3])]


def test_a_time_is_one_run_however_often_it_is_noticed(register, ticks, catalog):
    register()
    found = {ticks.notice(*OF, last_minute()) for _ in range(5)}
    assert len(found) == 1
    (run,) = catalog.runs("default")
    assert (found.pop().run_id, run["state"], run["awaited"]) == (run["run_id"], RunState.CREATED, True)


def test_a_time_is_one_run_whoever_notices_it_at_once(register, ticks, catalog):
    register()
    at, found = last_minute(), []
    racers = [threading.Thread(target=lambda: found.append(ticks.notice(*OF, at, ME).run_id)) for _ in range(8)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    assert len(catalog.runs("default")) == len(set(found)) == 1


def test_who_notices_it_may_lead_the_run_at_once(register, ticks, catalog, requests):
    register()
    found = ticks.notice(*OF, last_minute(), ME)
    assert found.held
    assert requests.take(OTHER) is None
    assert catalog.lead(found.run_id, ME).run_id == found.run_id


def test_what_was_noticed_is_not_due_any_more(register, ticks, schedules):
    register()
    schedules_next = schedules.of("default", "cases")[0]["next_at"]
    ticks.notice(*OF, schedules_next)
    assert schedules.of("default", "cases")[0]["next_at"] == schedules_next + A_MINUTE
    ticks.notice(*OF, schedules_next - A_MINUTE)
    assert schedules.of("default", "cases")[0]["next_at"] == schedules_next + A_MINUTE


@pytest.mark.parametrize(
    ("minutes", "late", "outcome"),
    [
        (90, {}, Outcome.MISSED),
        (90, {"catch_up": 7_200}, Outcome.RUN),
        (3, {"catch_up": 0}, Outcome.RUN),
        (7, {"catch_up": 0}, Outcome.MISSED),
    ],
)
def test_what_is_noticed_late_is_made_up_for_within_a_time(register, ticks, minutes, late, outcome):
    register(**late)
    assert ticks.notice(*OF, last_minute() - minutes * A_MINUTE).outcome is outcome


def test_of_what_was_missed_the_last_time_is_made_up_for(register, ticks, due_since, schedules, dump, database):
    register(catch_up=86_400)
    since = due_since(300)
    (found,) = ticks.catch_up(*OF)
    assert (found.outcome, schedules.of("default", "cases")[0]["due_at"]) == (Outcome.RUN, last_minute())
    assert noticed(dump, database) == ["missed", "run"]
    assert min(row[3] for row in dump(database)["tick"]) == since
    assert ticks.catch_up(*OF) == []


def test_all_that_is_due_is_begun_once(register, ticks, due_since, catalog, schedules):
    register()
    assert ticks.begin_due() == []
    due_since(1)
    assert ticks.begin_due(late=3_600) == []
    assert [each.outcome for each in ticks.begin_due()] == [Outcome.RUN]
    due_since(0)
    assert [each.run_id for each in ticks.begin_due()] == [catalog.runs("default")[0]["run_id"]]
    schedules.switch("default", "cases", None, False)
    due_since(0)
    assert ticks.begin_due() == []


def test_what_was_missed_for_too_long_is_not_made_up_for(registry, ticks, due_since, definition, dump, database):
    yearly = {"slug": OF[2], "cron": f"0 0 1 {(datetime.now(UTC) + timedelta(days=180)).month} *"}
    registry.register(definition(schedule=yearly))
    due_since(600)
    assert ticks.catch_up(*OF) == []
    assert noticed(dump, database) == ["missed"]
    assert ticks.catch_up(*OF) == []


def test_after_a_long_time_without_anybody_it_goes_on_from_now(
    registry, ticks, due_since, definition, schedules, dump, database
):
    """And does not catch up with one time after another."""
    half_past = {"slug": OF[2], "cron": f"{(datetime.now(UTC) - timedelta(minutes=20)).minute} * * * *"}
    registry.register(definition(schedule=half_past, triggers={"catch_up": 0}))
    due_since(14_400)
    assert ticks.catch_up(*OF) == []
    assert noticed(dump, database) == ["missed"]
    assert schedules.of("default", "cases")[0]["next_at"] > last_minute()


def test_one_that_cannot_be_read_costs_the_others_nothing(
    register, registry, ticks, due_since, definition, alter, database, caplog
):
    register()
    registry.register(definition("broken", schedule=MINUTE))
    alter(database, "UPDATE collection SET definition = ? WHERE name = ?", "{}", "broken")
    due_since(1)
    assert [each.outcome for each in ticks.begin_due()] == [Outcome.RUN]
    assert "default/broken/every-minute" in caplog.text


def test_a_time_that_was_noticed_before_is_not_due_again(register, ticks, due_since):
    register()
    known = ticks.notice(*OF, last_minute())
    due_since(0)
    assert ticks.begin_due() == [known]
    assert ticks.begin_due() == []


def test_what_nobody_can_notice_again_is_forgotten(register, ticks, dump, database):
    register()
    old = last_minute() - 101 * 1_440 * A_MINUTE
    ticks.notice(*OF, old)
    ticks.notice(*OF, last_minute())
    ticks.forget()
    assert [row[3] for row in dump(database)["tick"]] == [last_minute()]


def test_in_a_blackout_nothing_begins(register, ticks):
    register(blackout=[{"start": "00:00", "end": "12:00"}, {"start": "12:00", "end": "00:00"}])
    found = ticks.notice(*OF, last_minute())
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, "it lies in a blackout")


def test_switched_off_or_gone_nothing_begins(register, registry, ticks, schedules):
    register()
    schedules.switch("default", "cases", None, False)
    assert ticks.notice(*OF, last_minute()).reason == "it is switched off"
    registry.unregister("default", "cases")
    assert ticks.notice(*OF, last_minute() - A_MINUTE).outcome is Outcome.SKIPPED


def test_what_is_due_is_so_whatever_is_registered_meanwhile(register, ticks, due_since):
    register(catch_up=7_200)
    due_since(3)
    register(MINUTE | {"mode": "incremental"}, catch_up=7_200)
    assert [each.outcome for each in ticks.begin_due()] == [Outcome.RUN]


def test_what_was_due_before_it_was_switched_off_is_told(register, ticks, due_since, schedules, dump, database):
    register()
    at = due_since(1)
    schedules.switch("default", "cases", None, False)
    schedules.switch("default", "cases", None, True)
    assert [(row[3], row[4]) for row in dump(database)["tick"]] == [(at, "skipped")]


def test_set_off_nothing_begins_until_it_is_set_on(register, ticks, database):
    register()
    config = Config(database)
    config.set(("", ""), "schedules", False)
    assert ticks.notice(*OF, last_minute()).reason == "schedules are set off"
    config.set(("default", "cases"), "schedules", True)
    assert ticks.notice(*OF, last_minute() - A_MINUTE).outcome is Outcome.RUN


# ---- while another run is under way ------------------------------------------------------------------------


@pytest.fixture
def under_way(catalog, definition, register):
    """A run that somebody leads; `register` first."""

    def led():
        begun = catalog.begin(definition(), OTHER)
        return catalog.lead(begun.run_id, OTHER)

    return led


def test_refused_is_told_with_the_run_that_is_under_way(register, under_way, ticks):
    register(overlap="refuse")
    run = under_way()
    found = ticks.notice(*OF, last_minute())
    assert found.outcome is Outcome.SKIPPED
    assert run.run_id in found.reason


def test_queued_it_begins_after_the_other_and_one_waits_at_most(register, under_way, ticks, requests, catalog):
    register(overlap="queue")
    run = under_way()
    first, second = ticks.notice(*OF, last_minute(), ME), ticks.notice(*OF, last_minute() - A_MINUTE, ME)
    assert (first.outcome, first.held, second.outcome) == (Outcome.RUN, False, Outcome.SKIPPED)
    assert requests.take(ME) is None
    catalog.end(run, RunState.COMPLETED)
    assert requests.take(ME) == first.run_id


def test_it_replaces_the_other_which_lets_go_first(register, under_way, ticks, requests, catalog):
    register(overlap="replace")
    run = under_way()
    found = ticks.notice(*OF, last_minute(), ME)
    assert (found.outcome, found.held, catalog.desired(run.run_id)) == (Outcome.RUN, False, Desired.CANCEL)
    assert requests.take(ME) is None
    catalog.end(run, RunState.CANCELLED)
    assert requests.take(ME) == found.run_id


def test_both_are_allowed_side_by_side(register, ticks, requests, catalog):
    register(overlap="allow")
    first, second = ticks.notice(*OF, last_minute(), ME), ticks.notice(*OF, last_minute() - A_MINUTE, OTHER)
    assert catalog.lead(first.run_id, ME)
    assert catalog.lead(second.run_id, OTHER)
    third = ticks.notice(*OF, last_minute() - 2 * A_MINUTE)
    assert requests.take(ME) == third.run_id


def test_a_paused_run_is_not_passed_by_one_that_queues(register, under_way, ticks, catalog):
    register(overlap="queue")
    run = under_way()
    catalog.desire(run.run_id, Desired.STOP, "a holiday")
    catalog.end(run, RunState.PAUSED)
    found = ticks.notice(*OF, last_minute())
    assert (found.outcome, run.run_id in found.reason) == (Outcome.SKIPPED, True)


def test_a_paused_run_is_not_replaced(register, under_way, ticks, catalog):
    register(overlap="replace")
    run = under_way()
    catalog.desire(run.run_id, Desired.STOP, "a holiday")
    catalog.end(run, RunState.PAUSED)
    assert ticks.notice(*OF, last_minute()).outcome is Outcome.SKIPPED
    assert catalog.run(run.run_id)["state"] == RunState.PAUSED


def test_who_was_to_give_way_does_not_for_a_run_that_does_not_begin(register, registry, ticks, catalog, definition):
    """One was interrupted, and another one is under way."""
    register(overlap="allow")
    left, led = (catalog.begin(definition(triggers={"overlap": "allow"}), OTHER) for _ in range(2))
    catalog.lead(led.run_id, OTHER)
    catalog.desire(left.run_id, Desired.LEAVE)
    register(overlap="refuse")
    assert ticks.notice(*OF, last_minute()).outcome is Outcome.SKIPPED
    assert RunState.CANCELLED not in {row["state"] for row in catalog.runs("default")}


def test_in_a_blackout_nothing_is_made_up_for(register, ticks):
    """Due before it, and noticed in it."""
    now = datetime.now(UTC)
    dark = {"start": f"{now - timedelta(minutes=10):%H:%M}", "end": f"{now + timedelta(minutes=10):%H:%M}"}
    register(blackout=[dark], catch_up=7_200)
    assert ticks.notice(*OF, last_minute() - 30 * A_MINUTE).outcome is Outcome.SKIPPED


def test_after_so_many_failures_on_end_it_is_switched_off(register, ticks, catalog, schedules):
    register(pause_after_failures=2)

    def fails(minutes, state=RunState.FAILED):
        found = ticks.notice(*OF, last_minute() - minutes * A_MINUTE, ME)
        catalog.end(catalog.lead(found.run_id, ME), state, "it broke" if state is RunState.FAILED else None)
        return schedules.of("default", "cases")[0]["active"]

    assert [fails(4), fails(3, RunState.COMPLETED), fails(2), fails(1)] == [True, True, True, False]
    assert schedules.of("default", "cases")[0]["reason"] == "its last 2 runs have failed"
    schedules.switch("default", "cases", None, True)
    assert fails(0)
