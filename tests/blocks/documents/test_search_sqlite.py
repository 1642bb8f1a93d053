"""Search in the embedded store: what is stored now is found, whatever it says, and nothing else."""

import sqlite3
from contextlib import closing
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.documents.sqlite import SqliteDocuments
from blocks.sql.tables import documents
from collectors.errors import Misconfigured
from collectors.models import Document
from collectors.paths import Move, Place

OPEN = """
import sys
from pathlib import Path
from blocks.sql.sqlite import SqliteDatabase
from blocks.documents.sqlite import SqliteDocuments
from blocks.sql.tables import SCHEMA, documents
print("ready", flush=True)
input()
database = SqliteDatabase(Path(sys.argv[1]), documents, SCHEMA)
print(len(SqliteDocuments(database).search("default", "退款", limit=1000)))
database.close()
"""
OPERATORS = [
    "AND",
    "NOT 退款",
    '"退款"',
    "退款*",
    "NEAR(退 款)",
    "name:退款",
    "^退款",
    "%款",
    "退_",
    "退款 OR 银河",
    "{退款}",
]


# An id of its own for each example: of a document that is changed the index keeps what it said.
NUMBERS = count()


@pytest.fixture
def store(details):
    return SqliteDocuments(details)


def document(id="1", name="n", steps=(), version="b", **values):
    fields = {"tenant": "default", "collection": "cases", "kind": "case", "deleted": False, "path": f"/{name}"}
    fields |= {"content_hash": "0" * 64, "content": {"steps": list(steps)}}
    return Document(id=id, version=version, name=name, **fields | values)


def ids(store, query, tenant="default", **where):
    return [hit.id for hit in store.search(tenant, query, **where)]


def test_a_hit_says_where_it_is(store):
    store.write([document("7", "付款", ["打开页面", "申请退款"], path="/支付/付款")])
    (hit,) = store.search("default", "退款")
    assert (hit.collection, hit.kind, hit.id, hit.path, hit.name) == ("cases", "case", "7", "/支付/付款", "付款")
    assert (hit.field, hit.snippet) == ("steps", "申请【退款】")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0))
def test_every_two_neighbouring_characters_beside_a_chinese_one_find_it(store, text, at):
    text = f"退{text}款"
    at %= len(text) - 1
    query = text[at : at + 2]
    id = str(next(NUMBERS))
    store.write([document(id, "n", [text])])
    if not query.isascii() and not any(map(str.isspace, query)):
        assert id in ids(store, query, limit=1000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="ascii")), st.text("abz019", min_size=1), st.sampled_from(["", "款"]))
def test_every_word_and_its_beginnings_find_a_text(store, around, word, chinese):
    id = str(next(NUMBERS))
    store.write([document(id, "n", [f"{around} {word} {around}{chinese}"])])
    for length in range(1, len(word) + 1):
        assert id in ids(store, word[:length].upper(), limit=1000)


@pytest.mark.parametrize("query", OPERATORS)
def test_a_query_is_data(store, query):
    store.write([document("1", "申请退款 and 银河"), document("2", f"说 {query} 的")])
    assert "2" in ids(store, query)
    assert ids(store, query) == ["2"] or query == "AND"


@pytest.mark.parametrize("query", ["", " \t\n", '"', "%", "* - ()", "\0"])
def test_a_query_without_anything_to_search_is_refused(store, query):
    store.write([document("1", '" % * - ()')])
    with pytest.raises(Misconfigured) as error:
        store.search("default", query)
    assert error.value.code == "COL-0260"


def test_one_chinese_character_and_one_letter_are_found(store):
    store.write([document("1", "申请退款"), document("2", "x", ["款"]), document("3", "v 5")])
    assert ids(store, "款") == ["1", "2"]
    assert ids(store, "V") == ["3"]


def test_more_words_begin_alike_than_are_named_one_by_one(store):
    store.write([document(f"{n:03}", f"re{n:03} 款{chr(0x4E00 + n)}") for n in range(120)])
    for query in ("re", "款"):
        assert ids(store, query, limit=1000) == [f"{n:03}" for n in range(120)]


def test_very_long_queries_are_compared_to_their_end(store):
    text = "".join(chr(0x4E00 + n) for n in range(3000))
    store.write([document("1", "n", [text]), document("2", "n", [text[:-1]])])
    assert ids(store, text) == ["1"]
    assert ids(store, " ".join(text)) == ["1"]


def test_names_come_before_steps_and_are_counted_once(store):
    store.write([document("1", "n", ["退款"]), document("2", "退款", ["退款"]), document("3", "失败", ["退款"])])
    assert ids(store, "退款") == ["2", "1", "3"]
    assert ids(store, "失败 退款") == ["3"]
    assert ids(store, "退款", limit=2) == ["2", "1"]


def test_a_changed_record_is_found_by_its_new_text_only(store):
    store.write([document("1", "退款", ["页面"]), document("2", "n", ["页面"])])
    store.write([document("1", "付款", ["退款", "refund"], version="c")])
    assert ids(store, "页面") == ["2"]
    (hit,) = store.search("default", "退款")
    assert (hit.id, hit.field) == ("1", "steps")
    assert ids(store, "付款") == ids(store, "Refund") == ["1"]


def test_an_older_version_makes_nothing_found(store):
    store.write([document("1", "付款", version="c")])
    store.write([document("1", "退款", version="b")])
    assert ids(store, "退款") == []
    assert ids(store, "付款") == ["1"]


def test_a_deleted_record_is_not_found_and_a_record_that_comes_back_is(store):
    store.write([document("1", "退款"), document("2", "退款", deleted=True)])
    store.write([document("1", "退款", version="c", deleted=True)])
    assert ids(store, "退款") == []
    store.write([document("1", "退款", version="d")])
    assert ids(store, "退款") == ["1"]


def test_a_path_that_was_put_right_is_what_a_hit_says(store):
    store.write([document("1", "退款", path=None)])
    store.repath("default", "cases", "case", [Move("1", None, Place("/支付/退款", 1))])
    assert [hit.path for hit in store.search("default", "退款", under="/支付")] == ["/支付/退款"]


def test_search_keeps_to_its_tenant_collection_kind_and_directory(store):
    store.write(
        [document("1", "退款", path="/a/b"), document("2", "退款", path="/a"), document("3", "退款", path="/ab")]
    )
    store.write([document("4", "退款", kind="directory"), document("5", "退款", collection="other")])
    store.write([document("6", "退款", tenant="theirs")])
    assert ids(store, "退款", limit=100) == ["1", "2", "3", "4", "5"]
    assert ids(store, "退款", tenant="theirs") == ["6"]
    assert ids(store, "退款", collection="other") == ["5"]
    assert ids(store, "退款", kind="directory") == ["4"]
    assert ids(store, "退款", under="/a") == ids(store, "退款", under="/a/") == ["1", "2"]
    assert ids(store, "退款", under="/%") == []


def test_documents_of_several_kinds_and_orders_in_one_write_are_all_found(store):
    store.write([document(id, f"旧{id}") for id in "123"])
    mixed = [
        document("3", "新三", version="c"),
        document("9", "新九", kind="directory"),
        document("1", "新一", version="c"),
    ]
    store.write(mixed)
    assert sorted(ids(store, "新")) == ["1", "3", "9"]
    assert ids(store, "旧") == ["2"]


def test_a_write_that_fails_leaves_the_index_as_it_was(store, details, dump):
    store.write([document("1", "退款")])
    before = dump(details)
    with pytest.raises(TypeError):
        store.write([document("2", "退款"), document("3", None)])
    assert dump(details) == before


def test_an_index_that_was_lost_is_made_anew(store, details, alter):
    store.write([document("1", "退款"), document("2", "退款", deleted=True)])
    alter(details, "INSERT INTO search(search) VALUES ('delete-all')")
    assert ids(store, "退款") == []
    store.reindex()
    assert ids(store, "退款") == ["1"]


# ---- a home of schema 1 ------------------------------------------------------------------------------------


def make_old(database):
    """What schema 1 left behind."""
    database.close()
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("DROP TABLE search_vocabulary")
        connection.execute("DROP TABLE search")
        connection.execute("PRAGMA user_version = 1")


def test_a_database_without_an_index_gets_one_that_holds_what_is_stored(store, details, open_database):
    store.write([document(f"{n:04}", "申请退款") for n in range(2500)])
    store.write([document("0001", "付款", version="c"), document("0002", "申请退款", version="c", deleted=True)])
    make_old(details)
    again = SqliteDocuments(open_database(details.path, documents))
    assert len(ids(again, "退款", limit=5000)) == 2498
    again.write([document("new", "申请退款")])
    assert len(ids(again, "退款", limit=5000)) == 2499
    assert ids(again, "付款") == ["0001"]


def test_processes_that_open_a_database_without_an_index_at_once_share_it(store, details, processes):
    store.write([document(f"{n:04}", "申请退款") for n in range(300)])
    make_old(details)
    assert processes.at_once(OPEN, 3, details.path) == ["300\n"] * 3


def test_another_programs_database_of_an_older_schema_is_left_alone(tmp_path, open_database):
    path = tmp_path / "documents.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (a)")
        other.execute("PRAGMA user_version = 1")
    with pytest.raises(Misconfigured):
        open_database(path, documents)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
