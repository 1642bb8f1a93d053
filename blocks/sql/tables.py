"""The tables: the catalog (what runs), the ledger (which batch has come how far), and the rows of the business case.

Times are microseconds since 1970; ids compare byte by byte; tenant and collection are in every key.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, event
from sqlalchemy.dialects.mysql import LONGTEXT, MEDIUMBLOB

from blocks.documents import search_index

# 2: the index of the documents for search. 3: when the page of a batch had arrived. 4: what the service needs.
# 5: modes and sweeps. 6: what was: versions that were replaced, trees; pages that are known. 7: control.
# 8: what is registered, when it is due, how it is set, and who did what.
SCHEMA = 8
HISTORY_SINCE = 6
LONG = Text().with_variant(LONGTEXT(), "mysql", "mariadb")
BYTES = LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")

catalog = MetaData()
documents = MetaData()
OBSERVATION = "observation"


def _lease() -> list[Column]:
    return [
        Column("owner", String(255)),
        Column("fence", BigInteger, nullable=False, default=0),
        Column("lease_until", BigInteger, nullable=False, default=0),
    ]


collection = Table(
    "collection",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", LONG, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(100)),
)

# Which collections are registered, and what of them Prefect was told.
registration = Table(
    "registration",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("retired_at", BigInteger),
    Column("applied", LONG),
    Column("failed", LONG),
)

schedule = Table(
    "schedule",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("slug", String(64), primary_key=True),
    Column("rule", LONG, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("reason", LONG),
    Column("switched_at", BigInteger, nullable=False),
    Column("told", Boolean),  # whether Prefect has it switched on; None where it does not have it
    Column("next_at", BigInteger),
    Index("schedule_due", "active", "next_at"),
)

# What became of a time at which a schedule was due: one run, whoever noticed it, and however often.
tick = Table(
    "tick",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("slug", String(64), primary_key=True),
    Column("due_at", BigInteger, primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("reason", LONG),
    Column("run_id", String(32)),
    Column("noticed_at", BigInteger, nullable=False),
    Index("tick_of_run", "run_id"),
    Index("tick_due", "due_at"),
)

run = Table(
    "run",
    catalog,
    Column("run_id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("collection", String(100), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("definition", LONG, nullable=False),
    Column("of_file", LONG),
    Column("state", String(24), nullable=False),
    Column("desired", String(16), nullable=False),
    Column("reason", LONG),
    Column("sweep", BigInteger, nullable=False),
    Column("planned", Boolean, nullable=False, default=False),
    *_lease(),
    Column("flow_run_id", String(36)),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error", LONG),
    Column("awaited", Boolean),
    Column("epoch", Integer),
    Column("selection", LONG),
    Column("source_time", BigInteger),
    Column("closing", LONG),
    Column("round", Integer),
    Column("idle", BigInteger),  # microseconds since it was started in which nobody read
    Column("rested_at", BigInteger),  # since when nobody does; None while somebody does
    Column("placement", String(16)),
    Column("placement_reason", LONG),
    Column("mirrored", String(16)),  # what Prefect was told last, or said itself
    Column("desired_at", BigInteger),
    Column("version", Integer),  # of the definition it began with; None where that is none that is kept
    Index("run_of_collection", "tenant", "collection", "created_at"),
    Index("run_awaited", "awaited", "state"),
)

shard = Table(
    "shard",
    catalog,
    Column("run_id", String(32), primary_key=True),
    Column("shard_id", String(16), primary_key=True),
    Column("stage", String(64), nullable=False),
    Column("label", String(200), nullable=False),
    Column("span", LONG, nullable=False),
    Column("estimate", BigInteger, nullable=False),
    Column("state", String(24), nullable=False),
    Column("cursor", LONG, nullable=False),
    Column("page", BigInteger, nullable=False, default=0),
    Column("fetched", BigInteger, nullable=False, default=0),
    Column("quarantined", BigInteger, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    *_lease(),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("error", LONG),
    Column("moved", Boolean),
    Column("failures", Integer),
    Column("desired", String(16)),
    Column("reason", LONG),
    Column("idle", BigInteger),
    Column("flow_run_id", String(36)),
    Column("mirrored", String(16)),
    Column("desired_at", BigInteger),
)

batch = Table(
    "batch",
    catalog,
    Column("batch_id", String(255), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("collection", String(100), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("shard_id", String(16), nullable=False),
    Column("observation", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("record_ids", LONG, nullable=False),
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

quarantine = Table(
    "quarantine",
    catalog,
    Column("run_id", String(32), primary_key=True),
    Column("shard_id", String(16), primary_key=True),
    Column("page", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("message", LONG, nullable=False),
    Column("record_id", LONG),
    Column("payload", BYTES, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# Up to which time of the source a collection is complete, and how often it began anew after its source was restored.
watermark = Table(
    "watermark",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("value", BigInteger),
    Column("epoch", Integer, nullable=False),
    Column("moved_by", String(32)),
    Column("moved_at", BigInteger),
)

counter = Table(
    "counter",
    catalog,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What was asked for once under a key of the caller's is not done again when it is asked for again.
request = Table(
    "request",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

spool = Table(
    "spool",
    catalog,
    Column("run_id", String(32), primary_key=True),
    Column("stage", String(64), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    Column("content", BYTES, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# What a page of a full run said, so that an equal one need not be read again record by record.
known_page = Table(
    "known_page",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("place", String(64), primary_key=True),
    Column("items_hash", String(64), nullable=False),
    Column("rows_hash", String(64), nullable=False),
    Column("ids", LONG, nullable=False),
    Column("cursor", LONG, nullable=False),
    Column("etag", LONG),
    Column("observation", BigInteger, nullable=False),
)

api_key = Table(
    "api_key",
    catalog,
    Column("key_id", String(16), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("name", String(100), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

# What is set while everything runs, each change a version; of all tenants where `tenant` is empty, and so on.
setting = Table(
    "setting",
    catalog,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("value", LONG),  # JSON; None: it is not set any more
    Column("reason", LONG),
    Column("set_by", String(100), nullable=False),
    Column("set_at", BigInteger, nullable=False),
)

# Who did what: each entry is sealed together with the one before it.
audit = Table(
    "audit",
    catalog,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("details", LONG, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("seal", String(64), nullable=False),
    Index("audit_of_tenant", "tenant", "number"),
)

# The last entry, so that it is noticed when the end is cut off.
audit_end = Table(
    "audit_end",
    catalog,
    Column("name", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("seal", String(64), nullable=False),
)


def _records(name: str, parent: str, *own: Column) -> Table:
    return Table(
        name,
        catalog,
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


test_directory = _records("test_directory", "parent_id", Column("level", Integer))
test_case = _records("test_case", "directory_id", Column("status", BigInteger))
RECORDS = {"directory": test_directory, "case": test_case}

document = Table(
    "document",
    documents,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("version", String(36), nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("path", String(1000)),
    Column("body", Text, nullable=False),
)

history = Table(
    "history",
    documents,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("version", String(36), primary_key=True),
    Column("until", BigInteger),
    Column("deleted", Boolean, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("path", String(1000)),
    Column("body", Text, nullable=False),
    Index("history_until", "tenant", "collection", "until"),
)

snapshot = Table(
    "snapshot",
    documents,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("run_id", String(32), primary_key=True),
    Column("taken_at", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
)

snapshot_part = Table(
    "snapshot_part",
    documents,
    Column("tenant", String(64), primary_key=True),
    Column("collection", String(100), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
event.listen(documents, "after_create", search_index.create)
