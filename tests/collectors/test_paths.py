"""Paths: escaping, shortening, and deriving them for any forest in any order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.paths import CUT, LONGEST_PATH, Place, below, derive, escaped

NAMES = st.text(alphabet="ab/\\支é ", min_size=1, max_size=12) | st.text(min_size=200, max_size=400)
IDS = [str(number) for number in range(12)]


def unescaped_parts(path: str) -> list[str]:
    """Splits at slashes that are not escaped: what a reader of the path has to be able to do."""
    parts, characters = [""], iter(path)
    for character in characters:
        if character == "\\":
            parts[-1] += next(characters)
        elif character == "/":
            parts.append("")
        else:
            parts[-1] += character
    return parts[1:]


@pytest.mark.parametrize(
    ("name", "written"),
    [("退款", "退款"), ("a/b", "a\\/b"), ("a\\b", "a\\\\b"), ("\\/", "\\\\\\/"), ("/", "\\/"), (" ", " ")],
)
def test_slashes_and_backslashes_in_names_are_escaped(name, written):
    assert escaped(name) == written


@given(st.lists(st.text(alphabet="a/\\支", min_size=1, max_size=8), min_size=1, max_size=6))
def test_a_short_path_gives_back_the_names_it_was_made_of(names):
    place = None
    for name in names:
        place = below(place, name)
    assert unescaped_parts(place.path) == names
    assert place.level == len(names) - 1


def test_a_path_of_exactly_the_longest_length_is_not_cut():
    assert below(None, "x" * (LONGEST_PATH - 1)).path == "/" + "x" * (LONGEST_PATH - 1)


def test_a_longer_path_keeps_its_end_behind_a_mark():
    path = below(Place("/" + "a" * 600, 0), "b" * 600).path
    assert len(path) == LONGEST_PATH
    assert path == CUT + "a" * 398 + "/" + "b" * 600


@given(st.lists(NAMES, min_size=1, max_size=12))
def test_cutting_step_by_step_gives_what_cutting_at_once_gives(names):
    place = None
    for name in names:
        place = below(place, name)
    whole = "".join(f"/{escaped(name)}" for name in names)
    assert place.path == (whole if len(whole) <= LONGEST_PATH else CUT + whole[1 - LONGEST_PATH :])


def naive(id: str, nodes: dict, known: dict, seen: frozenset = frozenset()) -> Place | None:
    if id in seen:
        return None
    if id not in nodes:
        return known.get(id)
    parent, name = nodes[id]
    if parent is None:
        return below(None, name)
    above = naive(parent, nodes, known, seen | {id})
    return below(above, name) if above else None


@given(
    parents=st.dictionaries(
        st.sampled_from(IDS), st.tuples(st.none() | st.sampled_from(IDS), st.text("ab/", min_size=1, max_size=2))
    ),
    outside=st.sets(st.sampled_from(IDS)),
    order=st.randoms(use_true_random=False),
)
def test_any_forest_in_any_order_gives_what_naive_recursion_gives(parents, outside, order):
    """Orphans, circles and their descendants come up here by themselves: parents are drawn freely."""
    known = {id: Place(f"/known/{id}", 1) for id in outside - set(parents)}
    directories = [(id, parent, name) for id, (parent, name) in parents.items()]
    order.shuffle(directories)
    assert derive(directories, known) == {id: naive(id, parents, known) for id in parents}


@pytest.mark.parametrize(
    ("directories", "expected"),
    [
        pytest.param([("1", "gone", "a"), ("2", "1", "b")], {"1": None, "2": None}, id="orphan"),
        pytest.param([("1", "1", "a"), ("2", "1", "b")], {"1": None, "2": None}, id="its own parent"),
        pytest.param(
            [("1", "2", "a"), ("2", "3", "b"), ("3", "1", "c"), ("4", "3", "d"), ("5", None, "e")],
            {"1": None, "2": None, "3": None, "4": None, "5": Place("/e", 0)},
            id="circle",
        ),
        pytest.param([("", None, "a"), ("1", "", "b")], {"": Place("/a", 0), "1": Place("/a/b", 1)}, id="empty id"),
    ],
)
def test_what_has_no_way_to_the_top_has_no_place(directories, expected):
    for several in (directories, directories[::-1]):
        assert derive(several) == expected


def test_known_parents_outside_the_batch_carry_their_level_on():
    known = {"7": Place("/支付", 3)}
    assert derive([("9", "8", "b"), ("8", "7", "a")], known) == {"8": Place("/支付/a", 4), "9": Place("/支付/a/b", 5)}


def test_a_directory_of_the_batch_wins_over_what_was_known_of_it():
    assert derive([("1", None, "new"), ("2", "1", "b")], {"1": Place("/old", 0)})["2"] == Place("/new/b", 1)


def test_ten_thousand_levels_are_derived():
    chain = [(str(n), str(n - 1) if n else None, "x") for n in range(10_000)]
    random.Random(1).shuffle(chain)
    deepest = derive(chain)["9999"]
    assert deepest.level == 9_999
    assert deepest.path == CUT + ("/x" * 10_000)[1 - LONGEST_PATH :]


def test_a_circle_of_ten_thousand_has_no_places():
    circle = [(str(n), str((n + 1) % 10_000), "x") for n in range(10_000)]
    assert set(derive(circle).values()) == {None}
