"""What is wrong with a tree: found where it is, and nothing where it is right."""

import pytest

from collectors.models import Record
from collectors.paths import LONGEST_PATH
from collectors.quality import Finding, of_counts, of_directories


def checks(findings):
    return {finding.check: (finding.count, finding.examples) for finding in findings}


RIGHT = {"1": (None, "a", False), "2": ("1", "b", False)}
LONG = "n" * (LONGEST_PATH - len("/a/"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"3": ("4", "c", False), "4": ("3", "d", False)}, {"cycle": (2, ("directory 3", "directory 4"))}),
        ({"3": ("4", "c", True), "4": ("3", "d", False)}, {"cycle": (1, ("directory 4",))}),
        ({"3": ("3", "c", False)}, {"cycle": (1, ("directory 3",))}),
        (
            {"3": ("4", "c", False), "4": ("4", "d", False)},
            {"cycle": (1, ("directory 4",)), "level": (1, ("directory 3",))},
        ),
        ({"3": ("9", "an orphan is told by another check", False)}, {}),
        ({"3": ("9", "c", False), "4": ("3", "d", False), "5": ("3", "e", True)}, {"level": (1, ("directory 4",))}),
        ({"3": ("4", "below one that is gone", False), "4": (None, "d", True)}, {}),
        ({"3": ("1", LONG, False)}, {}),
        ({"3": ("1", f"{LONG}n", False), "4": ("3", "d", True)}, {"path": (1, ("directory 3",))}),
    ],
)
def test_directories(more, expected):
    assert checks(of_directories(RIGHT | more)) == expected


def test_a_large_circle_is_walked_once():
    around = 50_000
    directories = {str(number): (str((number + 1) % around), "n", False) for number in range(around)}
    (cycle,) = of_directories(directories)
    assert cycle == Finding(check="cycle", count=around, examples=tuple(f"directory {number}" for number in range(5)))


def test_counts_are_held_against_what_lies_there():
    found = of_counts({"1": 2, "2": 1, "3": 0}, {"1": 2, "2": 3, None: 7})
    assert found == [Finding(check="count", count=1, examples=("directory 2: 3 of 1",))]


def test_orphans_and_twins_are_found_among_the_live(shelf):
    def record(kind, id, parent, name="n", **values):
        return Record(kind=kind, id=id, parent_id=parent, name=name, **values)

    shelf.load(
        record("directory", "1", None, "top"),
        record("directory", "2", "1", "same"),
        record("directory", "3", "1", "same"),
        record("directory", "4", "1", "same", deleted=True),
        record("directory", "5", "gone"),
        record("case", "1", "1", "same"),
        record("case", "2", "2", "same"),
        record("case", "3", "4", "below what is gone"),
        record("case", "4", "9", "nowhere", deleted=True),
        record("case", "5", None, "at the top"),
        observation=1,
    )
    found = shelf.storage.quality.findings(shelf.tenant, shelf.collection)
    assert checks(found) == {"orphan": (2, ("directory 5", "case 3")), "duplicate": (1, ("directory 3",))}
    assert shelf.storage.quality.findings("other", shelf.collection) == []
