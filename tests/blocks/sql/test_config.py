"""Settings: each change a version, none lost, the narrowest in force; and who listens knows at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.live import Live
from blocks.sql.config import Config
from blocks.sql.tables import setting as table
from collectors.errors import Misconfigured

EVERYWHERE, ACME, DEMO = ("", ""), ("acme", ""), ("acme", "demo")
PLACES = (EVERYWHERE, ACME, DEMO, ("acme", "other"), ("zeta", ""), ("zeta", "demo"))
SETS = """
from blocks.sql.config import Config
for value in range(1, 11):
    Config(database).set(("acme", "demo"), "concurrency", int(sys.argv[2]) + value)
"""


@pytest.fixture
def config(database):
    return Config(database)


def values(versions):
    return [(each.number, each.value, each.reason) for each in versions]


def test_each_change_is_a_version_and_none_is_written_over(config):
    config.set(DEMO, "concurrency", 2, "slow")
    config.set(DEMO, "concurrency", "8")
    config.unset(DEMO, "concurrency", "well again")
    assert values(config.history(DEMO, "concurrency")) == [(3, None, "well again"), (2, 8, None), (1, 2, "slow")]
    assert values(config.history(DEMO, "concurrency", most=1, before=3)) == [(2, 8, None)]
    assert config.history(ACME, "concurrency") == []
    last = config.history(DEMO, "concurrency")[0]
    assert last.set_by.startswith("user:")
    assert last.set_at > 1_600_000_000_000_000


def test_what_was_comes_back_as_a_new_version(config):
    for value in (2, 8):
        config.set(DEMO, "concurrency", value)
    config.unset(DEMO, "concurrency")
    assert config.rollback(DEMO, "concurrency", 1, "as before").value == 2
    assert config.in_force(*DEMO)["concurrency"].version.number == 4
    assert config.rollback(DEMO, "concurrency", 3).value is None
    assert config.in_force(*DEMO) == {}
    for place, number in ((DEMO, 6), (DEMO, 0), (DEMO, -1), (ACME, 1)):
        with pytest.raises(Misconfigured, match="COL-0288"):
            config.rollback(place, "concurrency", number)
    assert len(config.history(DEMO, "concurrency")) == 5


def test_what_is_not_set_is_not_taken_away(config):
    assert config.unset(DEMO, "concurrency") is None
    config.set(DEMO, "concurrency", 2)
    assert config.unset(DEMO, "concurrency").number == 2
    assert config.unset(DEMO, "concurrency") is None
    assert len(config.history(DEMO, "concurrency")) == 2


def test_what_does_not_fit_changes_nothing(config):
    for place, name, value, code in (
        (DEMO, "concurency", 2, "COL-0285"),
        (DEMO, "concurrency", 65, "COL-0286"),
        (DEMO, "api_requests_per_second", 5, "COL-0287"),
        (("a/b", ""), "concurrency", 5, "COL-0289"),
    ):
        with pytest.raises(Misconfigured, match=code):
            config.set(place, name, value)
    assert config.values() == {}
    assert config.changes() == 0


def test_what_is_set_already_is_no_change(config):
    assert [config.set(DEMO, "concurrency", 3).number for _ in range(2)] == [1, 1]


def test_changes_at_once_are_all_kept(config):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda value: config.set(DEMO, "concurrency", value).number, range(1, 41)))
    assert sorted(numbers) == list(range(1, 41))
    assert sorted(each.value for each in config.history(DEMO, "concurrency")) == list(range(1, 41))
    assert config.changes() == 40


def test_changes_of_two_processes_are_all_kept(config, address, opens_database):
    command = [sys.executable, "-c", opens_database + SETS, address]
    processes = [subprocess.Popen([*command, above]) for above in ("0", "10")]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert [each.number for each in config.history(DEMO, "concurrency")] == list(range(20, 0, -1))


def test_who_listens_knows_what_another_process_has_set(config):
    live = Live(config)
    assert live.look()
    assert not live.look()
    config.set(ACME, "requests_per_second", 5)
    assert live.of("requests_per_second", *DEMO, None) is None
    assert live.look()
    assert live.of("requests_per_second", *DEMO, None) == 5.0
    config.unset(ACME, "requests_per_second")
    assert live.look()
    assert live.of("requests_per_second", *DEMO, None) is None


changes = st.tuples(
    st.sampled_from(PLACES), st.sampled_from(["concurrency", "requests_per_second"]), st.none() | st.integers(1, 64)
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=12), st.data())
def test_the_narrowest_that_is_set_last_is_in_force(config, made, data):
    """Beside a plain reading of the rule, after any changes, with some of them taken back."""
    with config._database.write() as connection:
        connection.execute(table.delete())
    live, was = Live(config), {}
    for place, name, value in made:
        past = was.setdefault((place, name), [])
        if past and data.draw(st.booleans(), "taken back"):
            number = data.draw(st.integers(1, len(past)), "version")
            past.append(past[number - 1])
            config.rollback(place, name, number)
        elif value is not None:
            past.append(value)
            config.set(place, name, value)
        elif config.unset(place, name):
            past.append(None)
    live.look()
    for place, name in product(PLACES, ("concurrency", "requests_per_second", "schedules")):
        wider = {"collection": place, "tenant": (place[0], ""), "global": EVERYWHERE}
        last = {scope: (was.get((each, name)) or [None])[-1] for scope, each in wider.items()}
        expected = next(((scope, value) for scope, value in last.items() if value is not None), None)
        found = config.in_force(*place).get(name)
        assert (found and found.version.value) == (expected and expected[1])
        assert live.of(name, *place, None) == (expected and expected[1])
        assert not expected or wider[found.origin] == wider[expected[0]]
