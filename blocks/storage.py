"""Everything a run is kept in, opened together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from blocks.catalog import Catalog
from blocks.database import Database
from blocks.documents_sqlite import SqliteDocuments
from blocks.queue_direct import DirectQueue
from blocks.rows import Rows
from blocks.settings import Settings
from blocks.shards import Shards
from blocks.tables import SCHEMA, catalog, documents
from collectors.interfaces import Documents, Queue
from collectors.loading import Loader


@dataclass(frozen=True, slots=True)
class Storage:
    catalog: Catalog
    shards: Shards
    rows: Rows
    documents: Documents
    queue: Queue


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """The embedded stores below `settings.home`, made when they are not there yet."""
    settings.make_home()
    main = Database(settings.database, catalog, SCHEMA)
    details = Database(settings.documents, documents, SCHEMA)
    rows, texts = Rows(main), SqliteDocuments(details)
    try:
        yield Storage(Catalog(main), Shards(main), rows, texts, DirectQueue(Loader(rows, texts)))
    finally:
        main.close()
        details.close()
