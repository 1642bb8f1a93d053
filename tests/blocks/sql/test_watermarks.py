"""Watermarks: never backwards by a run, never while a run is under way by a person; and epochs."""

import time

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


@pytest.fixture
def ran(database):
    """Plans a run of the collection, which is paused then; answers its name."""
    catalog = Catalog(database)

    def run(**changes):
        claim = catalog.begin(DEFINITION.model_copy(update={"mode": "incremental"} | changes), this_process())
        catalog.save_plan(claim, [], time.time())
        catalog.end(claim, RunState.PAUSED)
        return claim.run_id

    return run


def test_a_run_moves_it_forwards_only(marks, ran):
    runs = [ran() for _ in range(4)]
    for value, run_id in zip((0, 5, 3, 5), runs, strict=True):
        assert marks.advance(*KEY, value, run_id)
    found = marks.of(*KEY)
    assert (found.value, found.moved_by) == (5, runs[1])
    marks.set(*KEY, 2)
    assert (marks.of(*KEY).value, marks.of(*KEY).moved_by) == (2, None)


@pytest.mark.parametrize("changed", [lambda marks: marks.set(*KEY, 1), lambda marks: marks.set(*KEY, None)])
def test_what_a_person_set_while_a_run_was_paused_stays(marks, ran, changed):
    paused = ran()
    changed(marks)
    left = marks.of(*KEY)
    assert not marks.advance(*KEY, 9, paused)
    assert marks.of(*KEY) == left
    assert marks.advance(*KEY, 10, ran())


def test_a_run_of_an_epoch_before_moves_nothing(marks, ran):
    paused = ran()
    marks.bump(*KEY)
    assert marks.advance(*KEY, 10, later := ran())
    assert not marks.advance(*KEY, 11, paused)
    assert (marks.of(*KEY).value, marks.of(*KEY).moved_by) == (10, later)


def test_what_a_run_of_another_source_left_is_replaced_also_backwards(marks, ran):
    marks.advance(*KEY, 9, other := ran(source={"base_url": "http://y"}))
    assert "http://y" in marks.of(*KEY).definition
    assert marks.advance(*KEY, 5, run := ran(), instead_of=other)
    assert (marks.of(*KEY).value, marks.of(*KEY).moved_by) == (5, run)
    assert marks.advance(*KEY, 4, ran(), instead_of=other)
    assert marks.of(*KEY).value == 5


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
    catalog.save_plan(after, [], time.time())
    assert (catalog.run(before.run_id)["epoch"], catalog.run(after.run_id)["epoch"]) == (0, 2)


def test_runs_of_two_modes_go_on_side_by_side_and_two_of_one_do_not(database):
    catalog = Catalog(database)
    for mode in ("full", "incremental"):
        catalog.begin(DEFINITION.model_copy(update={"mode": mode}), this_process())
        with pytest.raises(Refused) as error:
            catalog.begin(DEFINITION.model_copy(update={"mode": mode}), this_process())
        assert error.value.code == "COL-0402"
