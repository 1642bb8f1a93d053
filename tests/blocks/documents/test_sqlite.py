"""Documents: the newest version wins, a derived path is put right whatever the version."""

import pytest
from sqlalchemy import Engine, event

from blocks.documents.sqlite import SqliteDocuments
from blocks.documents.sqlite_past import SqlitePast
from collectors.models import Document
from collectors.testing.documents_contract import DocumentsContract
from collectors.testing.past_contract import PastContract, version


@pytest.fixture
def store(details):
    return SqliteDocuments(details)


class TestSqliteDocuments(DocumentsContract):
    pass


class TestSqlitePast(PastContract):
    @pytest.fixture
    def past(self, details):
        return SqlitePast(details)


def test_no_statement_forgets_very_many(store, details):
    for number in (1, 2):
        store.write([version(number, id=str(id), new=number == 1) for id in range(2_500)])
    deleted = []

    def note(connection, cursor, statement, *_):
        deleted.extend([cursor.rowcount] * statement.startswith("DELETE"))

    event.listen(Engine, "after_cursor_execute", note)
    try:
        SqlitePast(details).forget("default", "cases", 3)
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    assert deleted == [1_000, 1_000, 500]


def document(id="1", version="b", **values):
    fields = {"tenant": "default", "collection": "cases", "kind": "case", "deleted": False, "name": "n", "path": "/n"}
    fields["content_hash"] = "0" * 64
    return Document(id=id, version=version, **fields | values)


def test_an_older_version_changes_nothing(store, details, dump):
    store.write([document(content={"a": 1})])
    before = dump(details)
    store.write([document(version="a", name="old", path="/old", deleted=True)])
    assert dump(details) | {"history": []} == before
