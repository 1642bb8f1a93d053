"""What documents were, and what trees looked like, in the file of the documents."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal_column, select
from sqlalchemy.dialects.sqlite import insert as upsert

from blocks.documents.sqlite_rows import document_of, of, row_of
from blocks.sql.constructs import execute_many
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import history, snapshot, snapshot_part
from collectors.history import Kept, Snapshot
from collectors.models import Document

CHUNK = 1000
FIELDS = [column for column in history.c if column.key != "until"]
CLOSE = """
    UPDATE history SET until = ?
    WHERE tenant = ? AND collection = ? AND kind = ? AND id = ? AND version < ? AND until IS NULL
"""


def keep(connection: Connection, versions: Sequence[Kept]) -> None:
    if versions:
        rows = [row_of(document) for document, _ in versions]
        execute_many(
            connection, _keep(), [(*r[:5], until, *r[5:]) for r, (_, until) in zip(rows, versions, strict=True)]
        )
        # One that was written again as it was is replaced as another version, and would stay open for ever.
        connection.exec_driver_sql(CLOSE, [(each.updated_at, *row_of(each)[:5]) for each, _ in versions])


@cache
def _keep() -> Any:
    """A version is kept once, and was replaced when the first one did it."""
    statement = upsert(history)
    mine, known = statement.excluded.until, history.c.until
    first = func.min(func.coalesce(mine, known), func.coalesce(known, mine))
    return statement.on_conflict_do_update(index_elements=list(history.primary_key), set_={"until": first})


class SqlitePast:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def versions(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, list[Document]]:
        found: defaultdict[str, list[Document]] = defaultdict(list)
        with self._database.read() as connection:
            for start in range(0, len(ids), CHUNK):
                some = history.c.id.in_(ids[start : start + CHUNK])
                query = select(*FIELDS).where(of(history, tenant, collection, kind), some).order_by(history.c.version)
                for row in connection.execute(query).mappings():
                    found[row["id"]].append(document_of(row))
        return dict(found)

    def forget(self, tenant: str, collection: str, before: int) -> None:
        number = literal_column("rowid")
        old = select(number).select_from(history).where(of(history, tenant, collection), history.c.until < before)
        forgotten = CHUNK
        while forgotten == CHUNK:
            with self._database.write() as connection:
                forgotten = connection.execute(delete(history).where(number.in_(old.limit(CHUNK)))).rowcount

    # ---- trees -------------------------------------------------------------------------------------------

    def keep(self, tenant: str, collection: str, taken: Snapshot, parts: Sequence[bytes]) -> None:
        key = {"tenant": tenant, "collection": collection}
        with self._database.write() as connection:
            known = of(snapshot_part, tenant, collection), snapshot_part.c.digest == taken.digest
            if parts and not connection.scalar(select(func.count()).select_from(snapshot_part).where(*known)):
                rows = [{"part": at, "content": part, "digest": taken.digest} | key for at, part in enumerate(parts)]
                connection.execute(insert(snapshot_part), rows)
            noted = {"run_id": taken.run_id, "taken_at": taken.taken_at, "digest": taken.digest}
            newer = upsert(snapshot).on_conflict_do_update(index_elements=list(snapshot.primary_key), set_=noted)
            connection.execute(newer, key | noted)

    def snapshots(self, tenant: str, collection: str) -> list[Snapshot]:
        c = snapshot.c
        query = select(c.run_id, c.taken_at, c.digest).where(of(snapshot, tenant, collection))
        with self._database.read() as connection:
            return [Snapshot(*row) for row in connection.execute(query.order_by(c.taken_at, c.run_id))]

    def parts(self, tenant: str, collection: str, taken: Snapshot) -> list[bytes]:
        c = snapshot_part.c
        query = select(c.content).where(of(snapshot_part, tenant, collection), c.digest == taken.digest)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(c.part)))

    def thin(self, tenant: str, collection: str, most: int) -> None:
        c, mine = snapshot.c, of(snapshot, tenant, collection)
        newest = select(c.run_id).where(mine).order_by(c.taken_at.desc(), c.run_id.desc()).limit(most)
        with self._database.write() as connection:
            connection.execute(delete(snapshot).where(mine, c.run_id.not_in(newest)))
            left = snapshot_part.c.digest.not_in(select(c.digest).where(mine))
            connection.execute(delete(snapshot_part).where(of(snapshot_part, tenant, collection), left))
