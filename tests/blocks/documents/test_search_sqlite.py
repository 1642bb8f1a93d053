"""Search in the embedded store: what is stored now is found, whatever it says, and nothing else."""

import sqlite3
from contextlib import closing
from itertools import count

import pytest

from blocks.documents.sqlite import SqliteDocuments
from blocks.sql.tables import documents
from collectors.errors import Misconfigured
from collectors.models import Document

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


def test_an_older_version_makes_nothing_found(store):
    store.write([document("1", "付款", version="c")])
    store.write([document("1", "退款", version="b")])
    assert ids(store, "退款") == []
    assert ids(store, "付款") == ["1"]


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
