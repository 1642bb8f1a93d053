"""Everything a run is kept in, opened together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from blocks.caches.none import NoCache
from blocks.documents.sqlite import SqliteDocuments
from blocks.queues.direct import DirectQueue
from blocks.settings import Settings
from blocks.sql.catalog import Catalog
from blocks.sql.rows import Rows
from blocks.sql.run_ledger import RunLedger
from blocks.sql.shards import Shards
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog, documents
from collectors.interfaces import Cache, Deliveries, Documents, Queue
from collectors.loading import Loader


@dataclass(frozen=True, slots=True)
class Storage:
    catalog: Catalog
    shards: Shards
    ledger: RunLedger
    rows: Rows
    documents: Documents
    cache: Cache
    queue: Queue
    deliveries: Deliveries | None = None  # None: what is published is applied at once, and nothing is left to load


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """The embedded stores below `settings.home`, made when they are not there yet."""
    settings.make_home()
    main = SqliteDatabase(settings.database, catalog, SCHEMA, upgrade=_upgrade)
    details = SqliteDatabase(settings.documents, documents, SCHEMA)
    rows, texts, cache = Rows(main), SqliteDocuments(details), NoCache()
    try:
        yield Storage(
            Catalog(main), Shards(main), RunLedger(main), rows, texts, cache, DirectQueue(Loader(rows, texts, cache))
        )
    finally:
        main.close()
        details.close()


def _upgrade(connection: Connection, schema: int) -> None:
    from blocks.sql.migrations import upgrade

    upgrade(connection, since=f"{max(schema - 1, 1):04}")
