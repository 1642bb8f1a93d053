"""Watermarks: never backwards by a run, never while a run is under way by a person; and epochs."""

import pytest

from blocks.process import this_process
from blocks.sql.catalog import Catalog
from blocks.sql.watermarks import Mark, Watermarks
from collectors.errors import Refused
from collectors.models import Collection
from collectors.states import RunState

KEY = ("default", "cases")
DEFINITION = Collection(name="cases", collector="testrail", source={"base_url": "http://x"})


@pytest.fixture
def marks(database):
    return Watermarks(database)


def test_there_is_none_at_first(marks):
    assert marks.of(*KEY) == Mark()


@pytest.mark.parametrize("value", [0, 1, 2**53])
def test_a_watermark_is_kept_as_it_is_set(marks, value):
    marks.set(*KEY, value)
    found = marks.of(*KEY)
    assert (found.value, found.epoch, found.moved_by) == (value, 0, None)
    marks.set(*KEY, None)
    assert marks.of(*KEY).value is None


def test_a_run_moves_it_forwards_only(marks):
    for value, run_id in ((0, "r1"), (5, "r2"), (3, "r3"), (5, "r4")):
        marks.advance(*KEY, value, run_id)
    found = marks.of(*KEY)
    assert (found.value, found.moved_by) == (5, "r2")
    marks.set(*KEY, 2)
    assert (marks.of(*KEY).value, marks.of(*KEY).moved_by) == (2, None)


def test_two_collections_do_not_share_one(marks):
    marks.set(*KEY, 7)
    assert marks.of("default", "others") == marks.of("elsewhere", "cases") == Mark()


def test_while_a_run_is_under_way_nobody_sets_it(marks, database):
    catalog = Catalog(database)
    claim = catalog.begin(DEFINITION.model_copy(update={"mode": "incremental"}), this_process())
    for change in (lambda: marks.set(*KEY, 1), lambda: marks.set(*KEY, None), lambda: marks.bump(*KEY)):
        with pytest.raises(Refused) as error:
            change()
        assert error.value.code == "COL-0402"
    catalog.end(claim, RunState.CANCELLED)
    marks.set(*KEY, 1)


def test_an_epoch_begins_anew_and_later_runs_are_of_it(marks, database):
    catalog = Catalog(database)
    before = catalog.begin(DEFINITION, this_process())
    catalog.end(before, RunState.CANCELLED)
    marks.set(*KEY, 9)
    assert (marks.bump(*KEY), marks.bump(*KEY)) == (1, 2)
    assert (marks.of(*KEY).epoch, marks.of(*KEY).value) == (2, None)
    after = catalog.begin(DEFINITION, this_process())
    assert (catalog.run(before.run_id)["epoch"], catalog.run(after.run_id)["epoch"]) == (0, 2)


def test_runs_of_two_modes_go_on_side_by_side_and_two_of_one_do_not(database):
    catalog = Catalog(database)
    for mode in ("full", "incremental"):
        catalog.begin(DEFINITION.model_copy(update={"mode": mode}), this_process())
        with pytest.raises(Refused) as error:
            catalog.begin(DEFINITION.model_copy(update={"mode": mode}), this_process())
        assert error.value.code == "COL-0402"
