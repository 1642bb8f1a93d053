"""Rows as they are read, placed and put right. How records are judged: tests/collectors/test_loading.py."""

import pytest

from blocks.sql.catalog import Catalog
from blocks.sql.quarantine import Quarantine
from blocks.sql.rows import CHUNK, Rows
from blocks.sql.tables import RECORDS
from blocks.sql.windows import WINDOW
from collectors.models import Quarantined, Record, ShardPlan, Verdict, version
from collectors.paths import LONGEST_PATH, Move, Place

KEY = ("default", "cases")


@pytest.fixture
def rows(database):
    return Rows(database)


@pytest.fixture
def catalog_run(database, definition):
    """A catalog, and a run in it with one shard."""
    catalog = Catalog(database)
    claim = catalog.lead(catalog.begin(definition(), "me").run_id, "me")
    plan = ShardPlan(shard_id="s01", stage="cases", label="cases", span={}, estimate=0)
    catalog.save_plan(claim, [plan], 0.0)
    return catalog, claim.run_id


def live(rows, kind, *key):
    return {row["id"]: row for chunk in rows.live(*(key or KEY), kind) for row in chunk}


def misplaced(rows):
    return [case[:4] for chunk in rows.misplaced_cases(*KEY) for case in chunk]


def verdicts(database):
    names = ", ".join(f"sum({verdict.value})" for verdict in Verdict)
    with database.read() as connection:
        found = connection.exec_driver_sql(f"SELECT {names} FROM batch").one()
    return {verdict: count for verdict, count in zip(Verdict, found, strict=True) if count}


# ---- writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "own"), [("directory", {"level": 1}), ("case", {"status": 2})])
def test_every_column_of_a_row_has_its_own_value(rows, new_batch, new_directory, kind, own):
    record = Record(kind=kind, id="i", parent_id="p", name="n", metadata={"status": 2}, source_version=5, deleted=True)
    later, last = ({"observation": seen, "page": f"{seen}.0"} for seen in (7, 9))
    rows.apply(new_batch(new_directory("p", None, "above")))
    rows.apply(new_batch(record.model_copy(update={"name": "before"}), **later))
    rows.apply(new_batch(record, **last))
    found = rows.of_id(*KEY, kind, "i")
    assert list(found) == RECORDS[kind].c.keys()
    assert 0 < found.pop("create_time") <= found.pop("update_time")
    assert found == own | {
        "tenant": "default", "collection": "cases", "id": "i", "parent_id": "p", "name": "n", "path": "/above/n",
        "version": version(5, 9), "content_hash": record.content_hash, "seen": 9, "deleted": True,
        "first_batch": "r1/s01/7.0/7", "last_batch": "r1/s01/9.0/9",
        "tombstone": None, "missing": None,
    }  # fmt: skip


# ---- placing -----------------------------------------------------------------------------------------------


def test_records_are_placed_below_parents_of_their_batch_and_of_earlier_ones(rows, new_batch, new_directory, new_case):
    rows.apply(new_batch(new_directory("2", "1", "a/b"), new_directory("1", None, "支付"), observation=1))
    rows.apply(new_batch(new_directory("3", "2", "c\\d"), new_case("9", "2", "x"), page="1.0", observation=2))
    assert {id: (row["path"], row["level"]) for id, row in live(rows, "directory").items()} == {
        "1": ("/支付", 0), "2": ("/支付/a\\/b", 1), "3": ("/支付/a\\/b/c\\\\d", 2),
    }  # fmt: skip
    assert live(rows, "case")["9"]["path"] == "/支付/a\\/b/x"


def test_records_without_a_known_parent_have_no_path_until_it_is_put_right(rows, new_batch, new_directory, new_case):
    (document, *_) = rows.apply(batch := new_batch(new_directory("2", "1"), new_case("9", "2"), new_case("8", "7")))
    rows.finish(batch)
    assert document.path is None
    assert live(rows, "directory")["2"]["path"] is None
    assert misplaced(rows) == []
    rows.replace(*KEY, "directory", [Move("2", None, Place("/d1/d2", 1), "")])
    assert misplaced(rows) == [("9", "2", "c9", None)]
    rows.replace(*KEY, "case", [Move("9", None, Place("/d1/d2/c9", 2), "")])
    assert misplaced(rows) == []
    assert live(rows, "directory")["2"]["level"] == 1


def test_cases_are_misplaced_when_their_directory_was_renamed_and_not_for_their_slashes(
    rows, new_batch, new_directory, new_case
):
    cases = [new_case("8", None, "top"), new_case("9", "1", "a/b\\c")]
    rows.apply(new_batch(new_directory("1", None, "old/"), *cases, observation=1))
    assert misplaced(rows) == []
    rows.apply(new_batch(new_directory("1", None, "new"), page="1.0", observation=2))
    assert misplaced(rows) == [("9", "1", "a/b\\c", "/old\\//a\\/b\\\\c")]


def test_a_path_that_had_to_be_cut_is_always_looked_at_again(rows, new_batch, new_directory, new_case):
    rows.apply(new_batch(new_directory("1", None, "n" * LONGEST_PATH), new_case("9", "1", "x")))
    (found,) = misplaced(rows)
    assert found[0] == "9"
    assert len(found[3]) == LONGEST_PATH


def test_putting_paths_right_touches_nothing_else(rows, new_batch, new_directory, new_case):
    rows.apply(batch := new_batch(new_directory("1"), new_case("9", "1")))
    rows.finish(batch)
    other = new_batch(new_directory("1"), new_case("9", "1"), collection="other", page="1.0")
    rows.apply(other)
    before = {kind: live(rows, kind) for kind in ("directory", "case")}
    rows.replace(*KEY, "case", [Move("9", "/d1/c9", Place("/moved", 0), ""), Move("nobody", None, None, "")])
    rows.replace(*KEY, "directory", [Move("1", "/d1", None, "")])
    assert live(rows, "case")["9"] == before["case"]["9"] | {"path": "/moved"}
    assert live(rows, "directory")["1"] == before["directory"]["1"] | {"path": None, "level": None}
    assert live(rows, "case", "default", "other")["9"]["path"] == "/d1/c9"


def test_more_than_a_chunk_of_paths_is_put_right(rows, new_batch, new_case):
    ids = [f"{number:05}" for number in range(2 * CHUNK + 1)]
    rows.apply(batch := new_batch(*(new_case(id) for id in ids)))
    rows.finish(batch)
    rows.replace(*KEY, "case", [Move(id, f"/c{id}", Place(f"/{id}", 0), "") for id in ids])
    assert {id: row["path"] for id, row in live(rows, "case").items()} == {id: f"/{id}" for id in ids}


# ---- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, WINDOW, 2 * WINDOW + 1])
def test_all_live_rows_are_read_once_by_id(rows, new_batch, new_case, count):
    ids = [f"{number:05}" for number in range(count)]
    if ids:
        rows.apply(new_batch(*(new_case(id) for id in reversed(ids))))
    chunks = list(rows.live(*KEY, "case"))
    assert [row["id"] for chunk in chunks for row in chunk] == ids
    assert all(0 < len(chunk) <= WINDOW for chunk in chunks)


def test_deleted_rows_are_kept_but_neither_read_nor_counted(rows, new_batch, new_directory, new_case):
    rows.apply(new_batch(new_directory("1"), new_directory("2", "1"), new_case("8", "1"), new_case("9", "1")))
    gone = [new_directory("2", "1", deleted=True), new_case("9", "1", deleted=True)]
    rows.apply(new_batch(*gone, page="1.0", observation=2))
    assert (live(rows, "directory").keys(), live(rows, "case").keys()) == ({"1"}, {"8"})
    assert rows.count(*KEY) == {"directory": 1, "case": 1}
    assert rows.cases_by_directory(*KEY) == {"1": 1}
    assert [id for id, *_ in rows.directories(*KEY)] == ["1", "2"]


def test_cases_are_counted_by_directory_also_those_without_one(rows, new_batch, new_case):
    rows.apply(new_batch(new_case("1", "a"), new_case("2", "a"), new_case("3"), new_case("4", "b")))
    assert rows.cases_by_directory(*KEY) == {"a": 2, "b": 1, None: 1}


def test_tenants_and_collections_are_kept_apart(rows, new_batch, new_case):
    others = [{"tenant": "other"}, {"collection": "other"}]
    rows.apply(new_batch(new_case("1")))
    for number, values in enumerate(others, 1):
        rows.apply(new_batch(new_case("1", name=f"n{number}"), page=f"{number}.0", observation=number, **values))
    assert live(rows, "case")["1"]["name"] == "c1"
    assert live(rows, "case", "other", "cases")["1"]["name"] == "n1"
    assert rows.count("default", "other") == {"directory": 0, "case": 1}
    assert rows.count("third", "cases") == {"directory": 0, "case": 0}


def test_ids_that_differ_only_in_case_or_width_are_different_records(rows, new_batch, new_case):
    ids = ["A", "Ａ", "a", "é", "é"]
    rows.apply(new_batch(*(new_case(id) for id in ids)))
    assert live(rows, "case").keys() == set(ids)


# ---- applying in parts -------------------------------------------------------------------------------------


def test_documents_of_a_batch_that_was_not_finished_are_asked_for_again(rows, new_batch, new_case, database):
    batch = new_batch(new_case("1"), new_case("2"), observation=1)
    documents = rows.apply(batch)
    again = new_batch(*batch.records, observation=2)
    assert [(each.id, each.name) for each in rows.apply(again)] == [(each.id, each.name) for each in documents]
    rows.finish(again)
    assert rows.apply(new_batch(*batch.records, observation=3)) == []
    assert verdicts(database) == {Verdict.NEW: 6}


def test_an_older_observation_changes_no_row(rows, new_batch, new_case):
    rows.apply(new_batch(new_case("1", name="new"), observation=9, page="1.0"))
    before = live(rows, "case")
    assert rows.apply(new_batch(new_case("1", name="old"), observation=3)) == []
    assert live(rows, "case") == before


# ---- what was refused ----------------------------------------------------------------


def refusal(position, message="no"):
    return Quarantined(position, "unwanted", message, None, b"{}")


def test_a_document_says_whether_its_record_is_new_and_since_when(rows, new_batch, new_case):
    (first,) = rows.apply(new_batch(new_case("1")))
    (second,) = rows.apply(new_batch(new_case("1", name="changed"), page="1.0", observation=2))
    assert (first.new, second.new) == (True, False)
    assert first.created_at == second.created_at <= second.updated_at


def test_trying_a_batch_out_changes_nothing(rows, new_batch, new_case, database, dump):
    before = dump(database)
    rows.try_out(new_batch(new_case("1")))
    assert dump(database) == before


def test_what_loading_refuses_is_kept_once_and_counted_once(rows, catalog_run, new_batch, new_case, database):
    catalog, run_id = catalog_run
    for _ in range(2):
        batch = new_batch(new_case("1"), run_id=run_id, page="3.1")
        rows.apply(batch, [refusal(0), refusal(1)])
    kept = Quarantine(database).records(run_id)
    assert [(each["page"], each["position"]) for each in kept] == [(3, -10_002), (3, -10_001)]
    assert catalog.shard(run_id, "s01")["quarantined"] == 2


def test_a_withdrawn_record_is_as_if_it_had_not_come(rows, catalog_run, new_batch, new_case):
    catalog, run_id = catalog_run
    rows.apply(new_batch(new_case("2"), run_id=run_id))
    batch = new_batch(new_case("1"), new_case("2", name="changed"), run_id=run_id, page="1.0", observation=2)
    rows.apply(batch)
    rows.withdraw(batch, [refusal(0), refusal(1)])
    assert rows.of_id("default", "cases", "case", "1") is None
    assert rows.of_id("default", "cases", "case", "2")["content_hash"] == ""
    assert catalog.shard(run_id, "s01")["quarantined"] == 2
    again = rows.apply(new_batch(new_case("2", name="changed"), run_id=run_id, page="2.0", observation=3))
    assert [each.id for each in again] == ["2"]
