"""What is registered: versions, which is in force, and the switches of its schedules; on both databases."""

import pytest

from blocks.acting import acting
from blocks.sql.audit import Audit
from blocks.sql.catalog import Catalog
from blocks.sql.registry import Changed, Registry
from blocks.sql.schedules import Schedules
from collectors.errors import Misconfigured

NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "Asia/Shanghai"}
HOURLY = {"slug": "hourly", "interval": 3600, "mode": "incremental"}


@pytest.fixture
def registry(database):
    return Registry(database)


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def schedules(database):
    return Schedules(database)


def slugs(schedules, **wanted):
    rows = schedules.of("default", "cases")
    return [row["slug"] for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_a_definition_gets_a_new_version_only_when_it_changed(registry, database, dump, definition):
    for each in (definition(), definition(), definition(mode="full"), definition(strategy={"concurrency": 2})):
        registry.remember(each)
    registry.remember(definition(strategy={"concurrency": 2}))
    registry.remember(definition())
    assert [row[:3] for row in dump(database)["collection"]] == [("default", "cases", n) for n in (1, 2, 3)]
    assert registry.definition("default", "cases") == definition()


def test_the_newest_version_of_each_definition_is_known_by_name_and_tenant(registry, definition):
    newest = [definition("用例-2"), definition("b", strategy={"concurrency": 9}), definition("a")]
    registry.remember(definition("b"))
    for each in newest:
        registry.remember(each)
    registry.remember(definition("a", tenant="other", strategy={"concurrency": 3}))
    assert registry.definitions("default") == sorted(newest, key=lambda each: each.name)
    assert registry.definition("default", "b") == newest[1]
    assert registry.definition("default", "c") is None
    assert registry.definition("third", "a") is None


def test_to_register_the_same_twice_changes_nothing(registry, definition):
    assert registry.register(definition()) == (1, None)
    assert registry.register(definition()) == (1, definition())
    assert registry.register(definition(strategy={"concurrency": 2})) == (2, definition())
    assert [row["version"] for row in registry.versions("default", "cases")] == [2, 1]


def test_what_was_only_collected_is_not_registered(registry, definition):
    registry.remember(definition())
    assert registry.in_force("default", "cases") is None
    assert registry.register(definition()) == (1, None)
    assert registry.in_force("default", "cases") == (1, definition())


def test_what_is_registered_is_not_changed_by_what_somebody_runs_from_a_file(registry, definition):
    registry.register(definition())
    registry.remember(definition(strategy={"concurrency": 9}))
    assert registry.definition("default", "cases") == definition()


def test_who_builds_upon_another_version_is_refused_with_what_is_in_force(registry, definition):
    registry.register(definition(), expected=0)
    registry.register(definition(strategy={"concurrency": 2}), expected=1)
    with pytest.raises(Changed, match="COL-0434") as caught:
        registry.register(definition(strategy={"concurrency": 3}), expected=1)
    assert (caught.value.version, caught.value.theirs) == (2, definition(strategy={"concurrency": 2}))
    assert registry.in_force("default", "cases")[0] == 2
    with pytest.raises(Changed):
        registry.register(definition("new"), expected=1)


def test_unregistered_it_keeps_its_versions_and_is_due_no_more(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY]))
    registry.unregister("default", "cases")
    assert (registry.in_force("default", "cases"), schedules.of("default", "cases")) == (None, [])
    assert len(registry.versions("default", "cases")) == 1
    with pytest.raises(Misconfigured, match="COL-0282"):
        registry.unregister("default", "cases")
    with pytest.raises(Misconfigured, match="COL-0282"):
        registry.unregister("other", "cases")
    assert registry.register(definition(schedule=[NIGHTLY])) == (1, None)
    assert slugs(schedules) == ["nightly"]


def test_a_switch_outlasts_that_its_collection_was_not_registered(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY]))
    schedules.switch("default", "cases", None, False, "a holiday")
    registry.unregister("default", "cases")
    registry.register(definition(schedule=[NIGHTLY]))
    assert slugs(schedules, active=False, reason="a holiday") == ["nightly"]
    assert all(row["next_at"] for row in schedules.of("default", "cases"))


def test_a_run_tells_the_version_it_began_with_whatever_part_it_is_about(registry, catalog, definition):
    registry.register(definition())
    registry.register(definition(strategy={"concurrency": 2}))
    known = definition(strategy={"concurrency": 2}, mode="incremental")
    other = definition(strategy={"concurrency": 3})
    versions = [catalog.run(catalog.begin(each, "elsewhere:1:1").run_id)["version"] for each in (known, other)]
    assert versions == [2, None]


# ---- schedules ---------------------------------------------------------------------------------------------


def test_schedules_come_and_go_with_their_definition(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY, HOURLY]))
    assert slugs(schedules, active=True) == ["hourly", "nightly"]
    assert all(row["next_at"] for row in schedules.of("default", "cases"))
    registry.register(definition(schedule=[HOURLY | {"interval": 60}]))
    assert slugs(schedules) == ["hourly"]


def test_a_switch_stays_as_people_have_left_it_until_the_definition_says_otherwise(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY, HOURLY]))
    assert schedules.switch("default", "cases", "nightly", False, "a holiday") == ["nightly"]
    registry.register(definition(schedule=[NIGHTLY | {"cron": "0 3 * * *"}, HOURLY]))
    assert slugs(schedules, active=False, reason="a holiday") == ["nightly"]
    registry.register(definition(schedule=[NIGHTLY | {"active": False}, HOURLY]))
    registry.register(definition(schedule=[NIGHTLY, HOURLY | {"active": False}]))
    assert slugs(schedules, active=False) == ["hourly"]


def test_one_schedule_is_switched_or_all_of_a_collection(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY, HOURLY]))
    assert schedules.switch("default", "cases", None, False) == ["hourly", "nightly"]
    assert slugs(schedules, active=True) == []
    schedules.switch("default", "cases", None, True)
    assert slugs(schedules, active=True) == ["hourly", "nightly"]


def test_a_schedule_that_is_not_there_is_told_with_the_nearest_name(registry, schedules, definition):
    registry.register(definition(schedule=[NIGHTLY]))
    with pytest.raises(Misconfigured, match="Did you mean nightly"):
        schedules.switch("default", "cases", "nightli", False)
    registry.register(definition("plain"))
    with pytest.raises(Misconfigured, match="plain has no schedule"):
        schedules.switch("default", "plain", None, False)


def test_each_change_is_told_once_with_who_made_it(registry, schedules, definition, database):
    registry.register(definition(schedule=[NIGHTLY]))
    registry.register(definition(schedule=[NIGHTLY]))
    with acting("key:1"):
        schedules.switch("default", "cases", None, False, "a holiday")
    schedules.switch("default", "cases", None, False)
    registry.unregister("default", "cases")
    told = [(each["actor"] == "key:1", each["action"], each["subject"]) for each in Audit(database).entries()]
    assert told == [
        (False, "unregister", "cases"),
        (True, "schedule pause", "cases/nightly"),
        (False, "register", "cases"),
    ]
