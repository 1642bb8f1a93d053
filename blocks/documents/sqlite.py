"""Documents as JSON in a SQLite file of their own: the embedded stand-in for a document database."""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from blocks.documents import search_index, sqlite_past
from blocks.documents.sqlite_rows import document_of, of, row_of
from blocks.sql.constructs import execute_many
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import document
from collectors.history import replaced
from collectors.models import Document, Hit
from collectors.paths import Move
from collectors.terms import find, texts

CHUNK = 1000
NUMBERS = """
    SELECT id, version, rowid FROM document
    WHERE tenant = ? AND collection = ? AND kind = ? AND id IN (SELECT value FROM json_each(?))
"""


class SqliteDocuments:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def write(self, documents: Sequence[Document]) -> None:
        with self._database.write() as connection:
            _keep_replaced(connection, documents)
            execute_many(connection, _upsert(), [row_of(each) for each in documents])
            _make_searchable(connection, documents)

    def read(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, Document]:
        found: dict[str, Document] = {}
        with self._database.read() as connection:
            for start in range(0, len(ids), CHUNK):
                found |= _found(connection, (tenant, collection, kind), ids[start : start + CHUNK])
        return found

    def repath(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        mine = of(document, tenant, collection, kind), document.c.id == bindparam("key")
        no_newer = document.c.version <= bindparam("at")
        statement = update(document).where(*mine, no_newer).values(path=bindparam("new_path"))
        rows = [{"key": move.id, "at": move.version, "new_path": move.place and move.place.path} for move in moves]
        for start in range(0, len(rows), CHUNK):
            with self._database.write() as connection:
                connection.execute(statement, rows[start : start + CHUNK])

    def discard(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), CHUNK):
            with self._database.write() as connection:
                some = document.c.id.in_(ids[start : start + CHUNK])
                connection.execute(delete(document).where(of(document, tenant, collection, kind), some))

    def search(
        self,
        tenant: str,
        query: str,
        collection: str | None = None,
        kind: str | None = None,
        under: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        wanted = search_index.wanted(query)
        where = {"tenant": tenant, "collection": collection, "kind": kind, "under": under and under.rstrip("/")}
        hits: dict[int, Hit] = {}
        with self._database.read() as connection:
            for row in search_index.candidates(connection, wanted, where):
                if row["number"] not in hits and (hit := _hit(row, wanted)):
                    hits[row["number"]] = hit
                    if len(hits) == limit:
                        break
        return list(hits.values())

    def marks(
        self, tenant: str, collection: str, kind: str, after: str, last: str | None
    ) -> dict[str, tuple[str, bool]]:
        c = document.c
        query = select(c.id, c.content_hash, c.deleted).where(of(document, tenant, collection, kind), c.id > after)
        if last is not None:
            query = query.where(c.id <= last)
        with self._database.read() as connection:
            return {id: (content_hash, deleted) for id, content_hash, deleted in connection.execute(query)}

    def make_searchable(self) -> int:
        return 0  # a document is entered as it is written

    def reindex(self) -> None:
        """Make the search index anew from what is stored, in one transaction."""
        with self._database.write() as connection:
            search_index.rebuild(connection)


@cache
def _upsert() -> Any:
    statement = insert(document)
    return statement.on_conflict_do_update(
        index_elements=list(document.primary_key),
        set_={name: statement.excluded[name] for name in ("path", "body", "content_hash", "deleted", "version")},
        where=statement.excluded["version"] >= document.c.version,
    )


def _keep_replaced(connection: Connection, documents: Sequence[Document]) -> None:
    for key, group in groupby(documents, key=attrgetter("tenant", "collection", "kind")):
        some = list(group)
        found = _found(connection, key, [each.id for each in some]).values()
        sqlite_past.keep(connection, replaced(found, some))


def _found(connection: Connection, key: tuple[str, str, str], ids: Sequence[str]) -> dict[str, Document]:
    query = select(document).where(of(document, *key), document.c.id.in_(ids))
    return {row["id"]: document_of(row) for row in connection.execute(query).mappings()}


def _make_searchable(connection: Connection, documents: Sequence[Document]) -> None:
    live = [each for each in documents if not each.deleted]
    for key, group in groupby(live, key=attrgetter("tenant", "collection", "kind")):
        by_id = {each.id: each for each in group}
        numbers = connection.exec_driver_sql(NUMBERS, (*key, orjson.dumps(list(by_id)).decode()))
        current = ((number, by_id[id]) for id, version, number in numbers if version == by_id[id].version)
        search_index.enter(connection, key, [(number, each.name, each.content) for number, each in current])


def _hit(row: Any, wanted: Sequence[str]) -> Hit | None:
    body = orjson.loads(row["body"])
    # A name proposed it: whatever else it says is proposed later.
    found = find(wanted, texts(body["name"], {} if row["named"] else body["content"]))
    return found and Hit(row["collection"], row["kind"], row["id"], row["path"], body["name"], *found)
