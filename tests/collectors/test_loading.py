"""Loading into the real stores: whatever the order, repetition and interruption, the newest version ends up in both."""

from itertools import count, permutations

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from blocks.caches.none import NoCache
from blocks.documents.sqlite import SqliteDocuments
from blocks.sql.rows import Rows
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, documents
from blocks.sql.tables import batch as ledger
from collectors.errors import Rejected, Unreachable
from collectors.loading import Loader, newest
from collectors.models import Record, version

FIXTURES = HealthCheck.function_scoped_fixture
SEVERAL_IDS = ["A1", "a1", "n1 ", "n1", "é", "e\N{COMBINING ACUTE ACCENT}", "1", "01"]


def case(id: str = "1", name: str = "A", **fields) -> Record:
    return Record(**{"kind": "case", "id": id, "name": name, "content": {"said": name}} | fields)


def directory(id: str, name: str, parent: str | None = None) -> Record:
    return Record(kind="directory", id=id, name=name, parent_id=parent)


def found(shelf, id: str = "1") -> tuple:
    """What rows and documents say of a case; they have to agree."""
    row, document = shelf.rows()[id], shelf.document(id)
    assert (document.name, document.deleted) == (row["name"], row["deleted"])
    assert document.content == {"said": row["name"]}
    return row["name"], row["deleted"]


# ---- the newest version wins -----------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["ABC", "ABA", "AAB", "ABBA"])
def test_any_order_of_observations_ends_with_the_newest(shelves, said):
    for order in permutations(range(len(said))):
        shelf = shelves()
        for seen in order:
            shelf.load(case(name=said[seen]), observation=seen + 1, page=f"{seen}.0")
        assert found(shelf) == (said[-1], False), order


@settings(max_examples=25, deadline=None, suppress_health_check=[FIXTURES])
@given(
    said=st.lists(st.tuples(st.sampled_from("AB"), st.booleans(), st.integers(0, 1)), min_size=1, max_size=5),
    data=st.data(),
)
def test_any_order_and_repetition_with_deletions_ends_with_the_newest(shelves, said, data):
    """Each batch: what the record says, whether it is gone, its source version; later ones were observed later."""
    shelf = shelves()
    batches = [
        shelf.batch(case(name=name, deleted=gone, source_version=at), observation=seen, page=f"{seen}.0")
        for seen, (name, gone, at) in enumerate(said, 1)
    ]
    order = data.draw(st.permutations([*batches, *data.draw(st.lists(st.sampled_from(batches), max_size=3))]))
    for batch in order:
        shelf.apply(batch)
    name, gone, at = max(zip(said, range(len(said)), strict=True), key=lambda each: (each[0][2], each[1]))[0]
    assert found(shelf) == (name, gone)
    row = shelf.rows()["1"]
    newest_seen = max(seen for seen, each in enumerate(said, 1) if each[2] == at)
    assert row["version"] == version(at, newest_seen)
    assert row["seen"] >= newest_seen


def test_a_late_older_batch_changes_nothing(shelf):
    shelf.load(case(name="B"), case("2"), observation=6)
    before = shelf.rows(), shelf.document("1")
    late = shelf.load(case(name="A"), observation=5, page="1.0")
    assert (shelf.rows(), shelf.document("1")) == before
    assert shelf.counts(late) == {"superseded": 1}


def test_equal_content_raises_version_and_seen_so_that_a_late_change_in_between_loses(shelf):
    shelf.load(case(name="A"), observation=5)
    again = shelf.load(case(name="A"), observation=7, page="1.0")
    row = shelf.rows()["1"]
    assert (row["version"], row["seen"]) == (version(0, 7), 7)
    late = shelf.load(case(name="B"), observation=6, page="2.0")
    assert found(shelf) == ("A", False)
    assert (shelf.counts(again), shelf.counts(late)) == ({"unchanged": 1}, {"superseded": 1})


def test_a_higher_source_version_wins_over_a_later_observation(shelf):
    shelf.load(case(name="B", source_version=20), observation=5)
    shelf.load(case(name="A", source_version=10), observation=9)
    assert found(shelf) == ("B", False)


def test_equal_content_leaves_the_times_of_the_row_alone_and_a_change_keeps_its_creation(shelf):
    shelf.load(case(name="A"), observation=1)
    first = shelf.rows()["1"]
    shelf.load(case(name="A"), observation=2)
    same = shelf.rows()["1"]
    assert (same["create_time"], same["update_time"]) == (first["create_time"], first["update_time"])
    shelf.load(case(name="B"), observation=3, page="7.0")
    changed = shelf.rows()["1"]
    assert changed["create_time"] == first["create_time"]
    assert changed["update_time"] >= first["update_time"]
    assert changed["first_batch"] == first["first_batch"]
    assert changed["last_batch"].endswith("/s01/7.0/3")


# ---- deleted ---------------------------------------------------------------------------------------------


def test_a_deleted_flag_is_honoured_and_taken_back(shelf):
    shelf.load(case(), observation=1)
    gone = shelf.load(case(deleted=True), observation=2, page="1.0")
    assert found(shelf) == ("A", True)
    assert list(shelf.storage.rows.live(shelf.tenant, shelf.collection, "case")) == []
    back = shelf.load(case(), observation=3, page="2.0")
    assert found(shelf) == ("A", False)
    assert shelf.storage.rows.count(shelf.tenant, shelf.collection) == {"directory": 0, "case": 1}
    assert (shelf.counts(gone), shelf.counts(back)) == ({"deleted": 1}, {"changed": 1})


def test_a_record_first_met_deleted_is_kept_as_deleted(shelf):
    assert shelf.counts(shelf.load(case(deleted=True), observation=1)) == {"deleted": 1}
    assert found(shelf) == ("A", True)


def test_a_record_that_stays_deleted_is_unchanged(shelf):
    shelf.load(case(deleted=True), observation=1)
    assert shelf.counts(shelf.load(case(deleted=True), observation=2, page="1.0")) == {"unchanged": 1}


# ---- duplicates and repetition ---------------------------------------------------------------------------


def test_of_duplicates_the_highest_source_version_is_taken_then_the_last():
    one, two, three = case(name="A", source_version=2), case(name="B", source_version=2), case(name="C")
    assert newest((one, two, three)) == [two]
    assert newest((three, two, one)) == [one]


def test_a_directory_and_a_case_of_the_same_id_are_no_duplicates(shelf):
    shelf.load(case("1", "case"), directory("1", "directory"), observation=1)
    assert shelf.rows("case")["1"]["name"] == "case"
    assert shelf.rows("directory")["1"]["name"] == "directory"


def test_duplicates_inside_a_batch_store_one_record_and_count_the_rest_as_superseded(shelf):
    batch = shelf.load(case(name="A"), case("2"), case(name="B"), observation=1)
    assert found(shelf) == ("B", False)
    assert shelf.counts(batch) == {"new": 2, "superseded": 1}


@pytest.mark.parametrize("before", [None, "B", "A"], ids=["new", "changed", "unchanged"])
@pytest.mark.parametrize("gone", [False, True], ids=["live", "deleted"])
def test_a_batch_delivered_twice_counts_as_it_did(shelf, before, gone):
    if before:
        shelf.load(case(name=before), observation=1, page="0.0")
    batch = shelf.load(case(name="A", deleted=gone), observation=2, page="1.0")
    counted = shelf.counts(batch)
    shelf.apply(batch)
    assert shelf.counts(batch) == counted


@pytest.mark.parametrize("before", [None, "B", "A"], ids=["new", "changed", "unchanged"])
@pytest.mark.parametrize("gone", [False, True], ids=["live", "deleted"])
def test_a_page_read_again_counts_as_it_did(shelf, before, gone):
    if before:
        shelf.load(case(name=before), observation=1, run="r0")
    counted = shelf.counts(shelf.load(case(name="A", deleted=gone), observation=2))
    assert shelf.counts(shelf.load(case(name="A", deleted=gone), observation=3)) == counted
    assert shelf.counts(shelf.load(case(name="A", deleted=gone), observation=4)) == counted


def test_a_batch_delivered_again_after_a_newer_one_still_counts_as_it_did(shelf):
    """The page before had the record too, as happens when the source's pages shift while they are read."""
    first = shelf.load(case(), observation=1, page="0.0")
    shelf.load(case(), observation=2, page="1.0")
    shelf.apply(first)
    assert shelf.counts(first) == {"new": 1}


def test_a_run_reports_a_page_read_twice_once(begin, shelves):
    run = begin("c")
    shelf, claim = shelves(collection="c"), run.claim()
    shelf.load(case("1"), case("2"), observation=1, run=run.run_id)
    again = shelf.load(case("1"), case("2"), observation=2, run=run.run_id)
    run.storage.shards.checkpoint(claim, 0, None, [again], [], 2)
    assert run.applied() == {"new": 2, "changed": 0, "unchanged": 0, "deleted": 0, "superseded": 0}


# ---- interruption between the stores ---------------------------------------------------------------------


@pytest.mark.parametrize("seen", [1, 2], ids=["the same batch", "a later batch"])
def test_documents_lost_in_an_interruption_are_written_with_the_same_content(shelf, seen):
    shelf.storage.rows.apply(shelf.batch(case(), case("2"), observation=1))
    assert shelf.document("1") is None
    shelf.load(case(), case("2"), observation=seen)
    assert (found(shelf, "1"), found(shelf, "2")) == (("A", False), ("A", False))


def test_a_second_interruption_loses_nothing_either(shelf):
    shelf.load(case(name="A"), observation=1)
    for seen in (2, 3, 4):
        shelf.storage.rows.apply(shelf.batch(case(name="B"), observation=seen))
    assert shelf.document("1").name == "A"
    shelf.load(case(name="B"), observation=5)
    assert found(shelf) == ("B", False)


def test_an_interrupted_deletion_reaches_the_documents(shelf):
    shelf.load(case(), observation=1)
    shelf.storage.rows.apply(shelf.batch(case(deleted=True), observation=2))
    shelf.load(case(deleted=True), observation=3)
    assert found(shelf) == ("A", True)


def test_documents_are_written_only_as_long_as_they_may_be_missing(shelf):
    shelf.storage.rows.apply(shelf.batch(case(), observation=1))
    shelf.load(case(), observation=2)
    assert shelf.storage.rows.apply(shelf.batch(case(), observation=3)) == []


def test_of_two_loaders_the_slower_one_does_not_overwrite_newer_documents(shelf):
    slow = shelf.storage.rows.apply(shelf.batch(case(name="A"), observation=1))
    shelf.load(case(name="B"), observation=2)
    shelf.storage.documents.write(slow)
    assert found(shelf) == ("B", False)


@settings(max_examples=20, deadline=None, suppress_health_check=[FIXTURES])
@given(st.lists(st.tuples(st.sampled_from("AB"), st.booleans()), max_size=5), st.sampled_from("AB"))
def test_after_any_interruptions_a_last_complete_batch_leaves_both_stores_right(shelves, tries, last):
    """Each try: what the record says, and whether the loader stops after the rows."""
    shelf, seen = shelves(), count(1)
    for name, stops in tries:
        batch = shelf.batch(case(name=name), observation=next(seen))
        if stops:
            shelf.storage.rows.apply(batch)
        else:
            shelf.apply(batch)
    shelf.load(case(name=last), observation=next(seen))
    assert found(shelf) == (last, False)


# ---- identity --------------------------------------------------------------------------------------------


def test_ids_that_differ_only_a_little_are_different_records(shelf):
    batch = shelf.load(*(case(id, f"name of {id}") for id in SEVERAL_IDS), observation=1)
    assert shelf.counts(batch) == {"new": len(SEVERAL_IDS)}
    assert {id: found(shelf, id)[0] for id in SEVERAL_IDS} == {id: f"name of {id}" for id in SEVERAL_IDS}


def test_tenants_with_the_same_ids_do_not_meet(shelves):
    one, two = shelves("one", "c"), shelves("two", "c")
    one.load(case(name="A"), observation=5)
    two.load(case(name="B", deleted=True), observation=1, page="1.0")
    assert (found(one), found(two)) == (("A", False), ("B", True))


def test_collections_with_the_same_ids_do_not_meet(shelves):
    one, two = shelves(collection="one"), shelves(collection="two")
    one.load(case(name="A"), observation=5)
    two.load(case(name="B"), observation=1)
    assert (found(one), found(two)) == (("A", False), ("B", False))


def test_everything_a_record_says_comes_back_from_the_documents(shelf):
    content = {"steps": ["点击", None, 1.5, {"深": [True]}], "": "\x00"}
    shelf.load(case(content=content, metadata={"status": 3, "tags": []}), observation=1)
    document = shelf.document("1")
    assert (document.content, document.metadata) == (content, {"status": 3, "tags": []})
    assert shelf.rows()["1"]["status"] == 3


# ---- places ----------------------------------------------------------------------------------------------


def test_paths_follow_parents_in_the_same_batch_and_in_earlier_ones(shelf):
    shelf.load(directory("2", "退款", "1"), directory("1", "支付"), observation=1)
    shelf.load(case("9", "a/b", parent_id="2"), directory("3", "x", "2"), case("8", parent_id="3"), observation=2)
    assert shelf.paths("directory") == {"1": "/支付", "2": "/支付/退款", "3": "/支付/退款/x"}
    assert {id: row["level"] for id, row in shelf.rows("directory").items()} == {"1": 0, "2": 1, "3": 2}
    assert shelf.paths() == {"9": "/支付/退款/a\\/b", "8": "/支付/退款/x/A"}


def test_a_case_without_a_directory_hangs_at_the_top_and_one_with_an_unknown_directory_nowhere(shelf):
    shelf.load(case("1"), case("2", parent_id="later"), observation=1)
    assert shelf.paths() == {"1": "/A", "2": None}


# ---- what a store refuses --------------------------------------------------------------------------------


class AwayOnce(SqliteDocuments):
    """A document store that does not answer the first time."""

    away = True

    def write(self, documents):
        if self.away:
            self.away = False
            raise Unreachable("it is away", code="COL-0640")
        super().write(documents)


def test_a_batch_whose_documents_could_not_be_written_is_not_done_and_writes_them_when_it_comes_again(shelf, home):
    opened = SqliteDatabase(home.documents, documents, SCHEMA)
    loader, batch = Loader(shelf.storage.rows, AwayOnce(opened), NoCache()), shelf.batch(case(), observation=1)
    with pytest.raises(Unreachable):
        loader.apply(batch)
    with shelf.database.read() as connection:
        assert connection.scalar(select(ledger.c.stage)) == "rows"
    loader.apply(batch)
    assert found(shelf) == ("A", False)
    opened.close()


class PickyRows(Rows):
    """Rows that take no record with certain ids, and remember what was set aside."""

    def __init__(self, database, bad=()):
        super().__init__(database)
        self.bad, self.tried, self.refused, self.withdrawn = set(bad), 0, [], []

    def try_out(self, batch):
        self.tried += 1
        if found := sorted(self.bad & {record.id for record in batch.records}):
            raise Rejected("too-long", "{id} is too long", found[0], code="COL-0500", id=found[0])

    def apply(self, batch, refused=()):
        self.try_out(batch)
        self.refused += refused
        return super().apply(batch)

    def withdraw(self, batch, refused):
        self.withdrawn += [(batch.records[each.position].kind, each.record_id) for each in refused]


class PickyDocuments(SqliteDocuments):
    """Documents that take none with certain ids; those before it are written."""

    def __init__(self, database, bad=()):
        super().__init__(database)
        self.bad = set(bad)

    def write(self, documents):
        for document in documents:
            if document.id in self.bad:
                raise Rejected("too-large", "{id} is too large", code="COL-0500", id=document.id)
            super().write([document])


@pytest.fixture
def details(home, storage):
    opened = SqliteDatabase(home.documents, documents, SCHEMA)
    yield opened
    opened.close()


@pytest.fixture
def stage(database):
    def stage_of(batch):
        with database.read() as connection:
            return connection.scalar(select(ledger.c.stage).where(ledger.c.batch_id == batch.batch_id))

    return stage_of


@pytest.mark.parametrize("bad", [{"0"}, {"63"}, {"31", "32"}, {"1", "5", "40"}, set(map(str, range(64)))])
def test_what_the_rows_refuse_is_found_and_set_aside_and_the_rest_is_applied(shelf, database, stage, bad):
    rows, batch = PickyRows(database, bad), shelf.batch(*(case(str(n)) for n in range(64)), observation=1)
    Loader(rows, shelf.storage.documents, NoCache()).apply(batch)
    good = {str(n) for n in range(64)} - bad
    assert shelf.rows().keys() == good
    assert {id for id in map(str, range(64)) if shelf.document(id)} == good
    assert stage(batch) == "done"
    assert [(each.position, each.record_id, each.reason) for each in rows.refused] == [
        (int(id), id, "too-long") for id in sorted(bad, key=int)
    ]
    assert orjson.loads(rows.refused[0].payload)["content"] == {"said": "A"}
    assert rows.tried <= 2 + len(bad) * 14


def test_a_refusal_that_no_single_record_causes_is_raised_and_nothing_is_applied(shelf, database):
    class Crowded(PickyRows):
        def try_out(self, batch):
            if len(batch.records) > 1:
                raise Rejected("too-many", "together they are too much", code="COL-0500")

    with pytest.raises(Rejected):
        Loader(Crowded(database), shelf.storage.documents, NoCache()).apply(
            shelf.batch(case("1"), case("2"), observation=1)
        )
    assert shelf.rows() == {}


@pytest.mark.parametrize("bad", [{"0"}, {"15"}, {"7", "8"}, set(map(str, range(16)))])
def test_what_the_documents_refuse_is_withdrawn_and_the_rest_is_written(shelf, database, details, stage, bad):
    rows, batch = PickyRows(database), shelf.batch(*(case(str(n)) for n in range(16)), observation=1)
    Loader(rows, PickyDocuments(details, bad), NoCache()).apply(batch)
    assert {id for id in map(str, range(16)) if shelf.document(id)} == {str(n) for n in range(16)} - bad
    assert sorted(rows.withdrawn) == sorted(("case", id) for id in bad)
    assert stage(batch) == "done"


def test_a_directory_and_a_case_of_one_id_are_told_apart_when_one_is_refused(shelf, database, details):
    class NoCases(PickyDocuments):
        def write(self, documents):
            if any(document.kind == "case" for document in documents):
                raise Rejected("too-large", "too large", code="COL-0500")
            super().write(documents)

    rows = PickyRows(database)
    batch = shelf.batch(directory("1", "d"), case("1", "A"), case("1", "B"), observation=1)
    Loader(rows, NoCases(details), NoCache()).apply(batch)
    assert rows.withdrawn == [("case", "1")]
    assert shelf.document("1", "directory").name == "d"


def test_a_batch_that_comes_again_is_withdrawn_again_and_ends_the_same(shelf, database, details, stage):
    batch = shelf.batch(case("1"), case("2"), observation=1)
    rows = PickyRows(database)
    for _ in range(2):
        Loader(rows, PickyDocuments(details, {"2"}), NoCache()).apply(batch)
    assert shelf.document("1")
    assert shelf.document("2") is None
    assert stage(batch) == "done"
