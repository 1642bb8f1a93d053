"""What a setting takes, where it may be set, and which of several values is in force."""

import pytest

from collectors.chinese import TEXTS
from collectors.config import SETTINGS, checked_place, narrowest, setting, written
from collectors.errors import Misconfigured


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("concurrency", 1, 1),
        ("concurrency", "64", 64),
        ("requests_per_second", 1, 1.0),
        ("requests_per_second", "0.5", 0.5),
        ("requests_per_second", 10_000, 10_000.0),
        ("schedules", "off", False),
        ("schedules", "true", True),
        ("schedules", False, False),
        ("api_requests_per_second", "1000000", 1_000_000),
    ],
)
def test_what_fits_is_taken_as_it_is_meant(name, given, found):
    value = setting(name).checked(given)
    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("concurrency", wrong) for wrong in (0, 65, -1, 2.0, True, None, "", "two", "on", "2.5", "1e1", [1], 10**30)),
        *(("requests_per_second", wrong) for wrong in (0, -1, 10_000.5, float("nan"), float("inf"), "1e999", True)),
        *(("schedules", wrong) for wrong in (1, 0, "1", "yes", None, "ON")),
        *(("api_requests_per_second", wrong) for wrong in (0, 0.5, 1_000_001, "off")),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, given):
    with pytest.raises(Misconfigured, match="COL-0286") as refused:
        setting(name).checked(given)
    assert setting(name).takes in str(refused.value)


def test_the_nearest_name_is_said():
    with pytest.raises(Misconfigured, match=r"COL-0285.*\n.*Did you mean concurrency\?"):
        setting("concurency")


@pytest.mark.parametrize(("place", "fits"), [(("", ""), True), (("acme", ""), True), (("acme", "demo"), False)])
def test_a_setting_is_set_where_it_may_be(place, fits):
    assert checked_place("concurrency", place) == place
    if fits:
        assert checked_place("api_requests_per_second", place) == place
    else:
        with pytest.raises(Misconfigured, match=r"COL-0287.*\n.*global, tenant"):
            checked_place("api_requests_per_second", place)


@pytest.mark.parametrize("tenant", ["a b", "a/b", "a:b", "x" * 65, "\n"])
def test_what_is_no_tenant_is_refused(tenant):
    with pytest.raises(Misconfigured, match="COL-0289"):
        checked_place("concurrency", (tenant, ""))


def test_the_narrowest_is_in_force_and_nothing_of_others():
    found = {("", "", "a"): 1, ("t", "", "a"): 2, ("t", "c", "a"): 3, ("", "", "b"): 4, ("u", "c", "b"): 5}
    assert [narrowest(found, "a", *place) for place in (("t", "c"), ("t", "d"), ("u", "c"), ("", ""))] == [3, 2, 1, 1]
    assert [narrowest(found, "b", *place) for place in (("t", "c"), ("u", "c"), ("u", ""))] == [4, 5, 4]
    assert narrowest(found, "c", "t", "c") is None


def test_values_are_written_as_they_are_typed():
    assert [written(each) for each in (True, False, 5, 2.5, 10_000.0, 1_000_000)] == [
        *("on", "off", "5", "2.5", "10000", "1000000")
    ]


def test_every_setting_is_explained_in_chinese():
    assert not {each.description for each in SETTINGS.values()} - TEXTS.keys()
