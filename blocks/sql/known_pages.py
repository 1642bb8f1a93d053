"""Known pages beside the rows they became: recalled, held against them, forgotten when a sweep did not meet them."""

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, select

from blocks.sql import ledger
from blocks.sql.applying import seen_again, stored
from blocks.sql.constructs import Upsert, execute_bound, fresh
from blocks.sql.database import Database, repeatable
from blocks.sql.tables import RECORDS, known_page
from collectors.known_pages import KnownPage, rows_hash
from collectors.models import Batch

_KEY = ("tenant", "collection", "place")
_REMEMBER = Upsert(known_page, [(column, fresh(column)) for column in known_page.c if column.key not in _KEY])
_RECALL = select(known_page).where(*(known_page.c[name] == bindparam(name) for name in _KEY))


class KnownPages:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def recall(self, tenant: str, collection: str, place: str) -> KnownPage | None:
        values = {"tenant": tenant, "collection": collection, "place": place}
        with self._database.read() as connection:
            row = execute_bound(connection, _RECALL, values).mappings().first()
        if row is None:
            return None
        identities = tuple(map(tuple, orjson.loads(row["ids"])))
        return KnownPage(
            place, row["items_hash"], row["rows_hash"], identities, orjson.loads(row["cursor"]), row["etag"]
        )

    @repeatable
    def forget(self, tenant: str, collection: str, before: int) -> None:
        """Pages that were last seen before that observation."""
        mine = and_(known_page.c.tenant == tenant, known_page.c.collection == collection)
        with self._database.write() as connection:
            connection.execute(delete(known_page).where(mine, known_page.c.observation < before))


def remember(connection: Connection, batch: Batch, known: KnownPage) -> None:
    values = {
        "tenant": batch.tenant,
        "collection": batch.collection,
        "place": known.place,
        "items_hash": known.items_hash,
        "rows_hash": known.rows_hash,
        "ids": orjson.dumps(known.identities).decode(),
        "cursor": orjson.dumps(known.cursor).decode(),
        "etag": known.etag,
        "observation": batch.observation,
    }
    execute_bound(connection, _REMEMBER, values)


def seen_as_known(connection: Connection, batch: Batch, known: KnownPage) -> bool:
    """Whether the rows of the page are what they were; they count as seen by `batch` then."""
    if not _is_as_known(connection, batch, known):
        return False
    for kind, ids in _by_kind(known):
        seen_again(connection, RECORDS[kind], batch, ids)
    return True


def _is_as_known(connection: Connection, batch: Batch, known: KnownPage) -> bool:
    """Locks the rows: what is on its way to them comes after."""
    found = [
        (kind, id, row)
        for kind, ids in _by_kind(known)
        for id, row in stored(connection, RECORDS[kind], batch, ids).items()
    ]
    unfinished = ledger.unfinished(connection, batch)
    if any(not row.last_batch or row.last_batch in unfinished for _, _, row in found):
        return False
    rows = ((kind, id, row.version, row.content_hash, row.deleted) for kind, id, row in found)
    return rows_hash(rows) == known.rows_hash


def _by_kind(known: KnownPage) -> Sequence[tuple[str, list[str]]]:
    found = [(kind, sorted(id for of, id in known.identities if of == kind)) for kind in RECORDS]
    return [(kind, ids) for kind, ids in found if ids]
