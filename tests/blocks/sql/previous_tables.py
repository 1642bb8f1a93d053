"""The tables as the code before the last revision has them, frozen: that code works on while others are newer.

Whoever adds a revision replaces this by what `blocks/sql/tables.py` said before.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

tables = MetaData()


def _lease() -> list[Column]:
    return [
        Column("owner", String(255)),
        Column("fence", BigInteger, nullable=False, default=0),
        Column("lease_until", BigInteger, nullable=False, default=0),
    ]


Table(
    "collection",
    tables,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "run",
    tables,
    Column("run_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("collection", String(100), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("definition", Text, nullable=False),
    Column("of_file", Text),
    Column("state", String(24), nullable=False),
    Column("desired", String(16), nullable=False),
    Column("reason", Text),
    Column("sweep", BigInteger, nullable=False),
    Column("planned", Boolean, nullable=False, default=False),
    *_lease(),
    Column("flow_run_id", String(36)),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error", Text),
    Column("awaited", Boolean),
    Column("epoch", Integer),
    Column("selection", Text),
    Column("source_time", BigInteger),
    Column("closing", Text),
    Column("round", Integer),
    Column("idle", BigInteger),
    Column("rested_at", BigInteger),
    Column("placement", String(16)),
    Column("placement_reason", Text),
    Column("mirrored", String(16)),
    Column("desired_at", BigInteger),
    Index("run_of_collection", "tenant", "collection", "created_at"),
    Index("run_awaited", "awaited", "state"),
)

Table(
    "shard",
    tables,
    Column("run_id", String(32), primary_key=True),
    Column("shard_id", String(16), primary_key=True),
    Column("stage", String(64), nullable=False),
    Column("label", String(200), nullable=False),
    Column("span", Text, nullable=False),
    Column("estimate", BigInteger, nullable=False),
    Column("state", String(24), nullable=False),
    Column("cursor", Text, nullable=False),
    Column("page", BigInteger, nullable=False, default=0),
    Column("fetched", BigInteger, nullable=False, default=0),
    Column("quarantined", BigInteger, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    *_lease(),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error", Text),
    Column("moved", Boolean),
    Column("failures", Integer),
    Column("desired", String(16)),
    Column("reason", Text),
    Column("idle", BigInteger),
    Column("flow_run_id", String(36)),
    Column("mirrored", String(16)),
    Column("desired_at", BigInteger),
)

Table(
    "batch",
    tables,
    Column("batch_id", String(255), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("collection", String(100), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("shard_id", String(16), nullable=False),
    Column("observation", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("record_ids", Text, nullable=False),
    Column("confirmed", Boolean, nullable=False, default=False),
    Column("stage", String(16), nullable=False),
    *(
        Column(verdict, Integer, nullable=False, default=0)
        for verdict in ("new", "changed", "unchanged", "deleted", "superseded")
    ),
    Column("published_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    Column("arrived_at", BigInteger),
    Column("regressed", Integer),
    Index("batch_of_run", "run_id"),
    Index("batch_of_collection", "tenant", "collection", "stage"),
)

Table(
    "quarantine",
    tables,
    Column("run_id", String(32), primary_key=True),
    Column("shard_id", String(16), primary_key=True),
    Column("page", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("record_id", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "watermark",
    tables,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("value", BigInteger),
    Column("epoch", Integer, nullable=False),
    Column("moved_by", String(32)),
    Column("moved_at", BigInteger),
)

Table(
    "counter",
    tables,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

Table(
    "request",
    tables,
    Column("tenant", String(64), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "spool",
    tables,
    Column("run_id", String(32), primary_key=True),
    Column("stage", String(64), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "known_page",
    tables,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("place", String(64), primary_key=True),
    Column("items_hash", String(64), nullable=False),
    Column("rows_hash", String(64), nullable=False),
    Column("ids", Text, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("etag", Text),
    Column("observation", BigInteger, nullable=False),
)

Table(
    "api_key",
    tables,
    Column("key_id", String(16), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("name", String(100), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)


def _records(name: str, parent: str, *own: Column) -> Table:
    return Table(
        name,
        tables,
        Column("tenant", String(64), primary_key=True),
        Column("collection", String(100), primary_key=True),
        Column("id", String(255), primary_key=True),
        Column(parent, String(255), key="parent_id"),
        Column("name", Text, nullable=False),
        Column("path", String(1000)),
        *own,
        Column("create_time", BigInteger, nullable=False),
        Column("update_time", BigInteger, nullable=False),
        Column("version", String(36), nullable=False),
        Column("content_hash", String(64), nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False),
        Column("first_batch", String(255), nullable=False),
        Column("last_batch", String(255), nullable=False),
        Column("tombstone", BigInteger),
        Column("missing", BigInteger),
        Index(f"{name}_of_parent", "tenant", "collection", "parent_id"),
        sqlite_with_rowid=False,
    )


_records("test_directory", "parent_id", Column("level", Integer))
_records("test_case", "directory_id", Column("status", BigInteger))
