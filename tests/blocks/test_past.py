"""How a collection stood: answered as it was, or refused; never wrongly."""

import tracemalloc

import pytest

from blocks.past import Moment, Past, written
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Refused
from collectors.history import Difference, Leaf, Snapshot
from collectors.models import Batch, Record, Retention
from deployments.moments import as_numbered, time_of, versions_of

OF = ("default", "cases")


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


@pytest.fixture
def write(storage):
    """Writes a record as a batch of its own; answers the moment after it."""

    def written(id, name, steps=("rows", "documents"), deleted=False):
        batch = Batch(
            *OF,
            "r1",
            "s01",
            f"{storage.shards.observe()}.0",
            storage.shards.observe(),
            (Record(kind="case", id=id, name=name, deleted=deleted),),
        )
        documents = storage.rows.apply(batch)
        if "documents" in steps:
            storage.documents.write(documents)
            storage.rows.finish(batch)
        moment = storage.catalog.now()
        while storage.catalog.now() == moment:
            pass  # its clock ticks by milliseconds
        return Moment(moment)

    return written


@pytest.fixture
def past(storage):
    return lambda **retention: Past(storage, *OF, Retention(**retention))


def names(leaves):
    return {leaf.id: leaf.name for leaf in leaves}


def test_a_record_whose_change_is_on_its_way_stood_as_it_did(write, past):
    write("1", "one")
    then = write("2", "two")
    write("2", "other", steps=("rows",))
    assert names(past().leaves(then)) == {"1": "one", "2": "two"}


def test_a_snapshot_without_its_parts_is_not_believed(storage, write, past):
    then = write("1", "one")
    storage.past.keep(*OF, Snapshot("r1", then.at, "d1"), [])
    assert names(past().leaves(Moment(then.at, "r1"))) == {"1": "one"}
    past().keep("r2")
    assert names(past().leaves(Moment(storage.catalog.now(), "r2"))) == {"1": "one"}


def test_of_a_run_that_ended_once_more_the_last_end_counts(storage, write, past):
    write("1", "one")
    past().keep("r1")
    again = write("1", "another")
    assert names(past().leaves(Moment(again.at, "r1"))) == {"1": "another"}


def test_a_run_left_what_another_changed_between_its_snapshot_and_its_end(write, past):
    write("1", "one")
    past().keep("r1")
    ended = write("1", "another")
    then = past().now()
    write("1", "a third")
    assert names(past().leaves(Moment(ended.at, "r1"))) == names(past().leaves(ended)) == {"1": "another"}
    (found,) = past().differences(then, past().now())
    assert found.before.name == "another"


def test_a_tree_is_kept_anew_although_what_changed_has_changed_once_more(storage, write, past, monkeypatch):
    monkeypatch.setattr("blocks.past.COMMITTING", 0)
    write("1", "one")
    past().keep("r1")
    write("1", "another")
    past().keep("r2")
    one, other = storage.past.snapshots(*OF)
    assert one.digest != other.digest


def test_a_run_whose_versions_are_forgotten_left_its_snapshot(write, past):
    write("1", "one")
    past(history_days=0).keep("r1")
    ended = past().now()
    write("1", "another")
    assert names(past(history_days=0).leaves(Moment(ended.at, "r1"))) == {"1": "one"}


def test_a_tree_that_did_not_change_is_held_against_the_one_before_part_by_part(storage, past, monkeypatch):
    monkeypatch.setattr("blocks.past.PART", 10_000)
    digest, parts = written(Leaf("case", str(number), "1", f"case {number}") for number in range(50_000))
    storage.past.keep(*OF, Snapshot("r1", storage.catalog.now(), digest), parts)
    past().keep("r2")  # what is done once is done
    tracemalloc.start()
    past().keep("r3")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {each.digest for each in storage.past.snapshots(*OF)} == {digest}
    assert most < 2_000_000


def test_what_was_forgotten_by_a_shorter_retention_is_refused_by_a_longer_one(write, past):
    then = write("1", "one")
    write("1", "another")
    past(history_days=0).keep("r1")
    for asked in (lambda: past().leaves(then), lambda: list(past().differences(then, past().now()))):
        with pytest.raises(Refused) as refused:
            asked()
        assert refused.value.code == "COL-0423"


def test_before_the_first_record_nothing_was_however_long_ago_and_nothing_is_forgotten(write, past):
    assert list(past(history_days=0).differences(Moment(1), past().now())) == []
    write("1", "one")
    short = past(history_days=0)
    assert [each.change for each in short.differences(Moment(1), short.now())] == ["added"]
    assert short.leaves(Moment(1)) == []


def test_what_was_gone_and_is_there_again_is_restored(write, past):
    before = write("1", "one")
    gone = write("1", "one", deleted=True)
    write("1", "one")
    write("2", "two")
    now = past().now()
    assert [(each.id, each.change) for each in past().differences(gone, now)] == [("1", "restored"), ("2", "added")]
    assert [each.id for each in past().differences(before, now)] == ["2"]
    assert [each["change"] for each in versions_of(past().history("case", "1"))] == ["added", "deleted", "restored"]


def test_ids_that_are_numbers_are_ordered_as_numbers():
    found = [Difference("case", id, "added", (), None, None) for id in ("x", "2001", "305", "5")]
    found.append(Difference("directory", "9", "added", (), None, None))
    assert [each.id for each in sorted(found, key=as_numbered)] == ["9", "5", "305", "2001", "x"]


@pytest.mark.parametrize(
    "time", ["2026-11-27T20:20:00+00:00", "2026-11-27 20:20:00.5+00:00", "2026-11-27T20:20:00+0000"]
)
def test_a_plus_that_an_address_made_a_space_is_taken_as_meant(time):
    assert time_of(time.replace("+", " ")) == time_of(time)


def test_an_equal_tree_is_kept_once(storage, write, past):
    write("1", "one")
    for run in ("r1", "r2", "r3"):
        past().keep(run)
    assert len({each.digest for each in storage.past.snapshots(*OF)}) == 1
    assert len(storage.past.parts(*OF, storage.past.snapshots(*OF)[0])) == 1
