"""Everything a run is kept in, opened together: two SQLite files, or the four servers of the full stack."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from blocks.caches.none import NoCache
from blocks.documents.sqlite import SqliteDocuments
from blocks.documents.sqlite_past import SqlitePast
from blocks.production import refuse_unsafe
from blocks.queues.direct import DirectQueue
from blocks.settings import Settings
from blocks.sql.audit import Audit
from blocks.sql.catalog import Catalog
from blocks.sql.config import Config
from blocks.sql.control import Control
from blocks.sql.database import Database
from blocks.sql.flow_runs import FlowRuns
from blocks.sql.keys import Keys
from blocks.sql.known_pages import KnownPages
from blocks.sql.quality import Quality
from blocks.sql.quarantine import Quarantine
from blocks.sql.registry import Registry
from blocks.sql.requests import Requests
from blocks.sql.rows import Rows
from blocks.sql.run_ledger import RunLedger
from blocks.sql.schedules import Schedules
from blocks.sql.sealing import Seals
from blocks.sql.shards import Shards
from blocks.sql.spool import Spool
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.sweeps import Sweeps
from blocks.sql.tables import HISTORY_SINCE, SCHEMA, catalog, documents, history, snapshot
from blocks.sql.ticks import Ticks
from blocks.sql.watermarks import Watermarks
from collectors.history import Past
from collectors.interfaces import Cache, Deliveries, Documents, Queue
from collectors.loading import Loader


@dataclass(frozen=True, slots=True)
class Storage:
    registry: Registry
    schedules: Schedules
    ticks: Ticks
    catalog: Catalog
    flow_runs: FlowRuns
    control: Control
    requests: Requests
    keys: Keys
    spool: Spool
    shards: Shards
    ledger: RunLedger
    watermarks: Watermarks
    quarantine: Quarantine
    sweeps: Sweeps
    pages: KnownPages
    quality: Quality
    audit: Audit
    config: Config
    rows: Rows
    documents: Documents
    past: Past
    cache: Cache
    queue: Queue
    deliveries: Deliveries | None = None  # None: what is published is applied at once, and nothing is left to load


@contextmanager
def open_storage(settings: Settings, outage: float = 0.0) -> Iterator[Storage]:
    """The stores the settings name; the embedded ones are made when they are not there yet.

    `outage`: for how many seconds a database that went away is waited for; by what works on a run, not by who looks.

    Raises Unreachable when it is not known which are meant, Misconfigured when the profile forbids them.
    """
    if settings.doubt:
        raise settings.doubt
    refuse_unsafe(settings)
    with _full_stack(settings, outage) if settings.addresses else _embedded(settings) as storage:
        yield storage


@contextmanager
def _embedded(settings: Settings) -> Iterator[Storage]:
    settings.make_home()
    with (
        closing(SqliteDatabase(settings.database, catalog, SCHEMA, upgrade=_upgrade)) as main,
        closing(SqliteDatabase(settings.documents, documents, SCHEMA, upgrade=_upgrade_documents)) as details,
    ):
        rows, texts, cache = Rows(main), SqliteDocuments(details), NoCache()
        yield _storage(main, rows, texts, SqlitePast(details), cache, DirectQueue(Loader(rows, texts, cache)))


@contextmanager
def _full_stack(settings: Settings, outage: float) -> Iterator[Storage]:
    """Nothing is asked of a server before it is needed."""
    from blocks.caches.redis_cache import RedisCache
    from blocks.documents.mongo import MongoDocuments
    from blocks.documents.mongo_past import MongoPast
    from blocks.queues.broker import Broker
    from blocks.queues.deliveries import RabbitDeliveries
    from blocks.queues.rabbitmq import RabbitQueue
    from blocks.sql.mysql import MysqlDatabase

    where, broker = settings.addresses, Broker(settings.addresses.queue)
    with (
        closing(MysqlDatabase(where.metadata, outage=outage, seals=Seals(settings.signing_keys))) as main,
        closing(MongoDocuments(where.documents)) as details,
        closing(RedisCache(where.cache)) as cache,
    ):
        queue, deliveries = RabbitQueue(broker, settings.signing_keys), RabbitDeliveries(broker, settings.signing_keys)
        yield _storage(main, Rows(main), details, MongoPast(details), cache, queue, deliveries)


def _storage(
    main: Database,
    rows: Rows,
    details: Documents,
    past: Past,
    cache: Cache,
    queue: Queue,
    deliveries: Deliveries | None = None,
) -> Storage:
    kept = (
        Registry(main),
        Schedules(main),
        Ticks(main),
        Catalog(main),
        FlowRuns(main),
        Control(main),
        Requests(main),
        Keys(main),
        Spool(main),
        Shards(main),
        RunLedger(main),
        Watermarks(main),
        Quarantine(main),
        Sweeps(main),
        KnownPages(main),
        Quality(main),
        Audit(main),
        Config(main),
    )
    return Storage(*kept, rows, details, past, cache, queue, deliveries)


def _upgrade_documents(connection: Connection, schema: int) -> None:
    """Nothing was kept of the past before schema 6, in tables of another shape."""
    if schema < HISTORY_SINCE:
        for table in (history, snapshot):
            table.drop(connection)
            table.create(connection)


def _upgrade(connection: Connection, schema: int) -> None:
    from blocks.sql.migrations import upgrade

    upgrade(connection, since=f"{max(schema - 1, 1):04}")
