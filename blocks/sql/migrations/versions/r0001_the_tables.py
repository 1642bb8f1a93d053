"""The tables as SQLite files of schema 2 have them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT, MEDIUMBLOB

revision, down_revision = "0001", None

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")
BYTES = sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    _catalog()
    _ledger()
    for table, parent, own in (
        ("test_directory", "parent_id", sa.Column("level", sa.Integer)),
        ("test_case", "directory_id", sa.Column("status", sa.BigInteger)),
    ):
        _records(table, parent, own)


def _table(name: str, *columns: sa.Column, key: Sequence[str], indexes: dict[str, list[str]] | None = None) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), if_not_exists=True)
    for index, of in (indexes or {}).items():
        op.create_index(index, name, of, if_not_exists=True)


def _text(name: str, length: int, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _number(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _lease() -> list[sa.Column]:
    return [_text("owner", 255, nullable=True), _number("fence"), _number("lease_until")]


def _catalog() -> None:
    _table(
        "collection",
        _text("tenant", 64),
        _text("name", 100),
        sa.Column("version", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("definition", LONG, nullable=False),
        _number("created_at"),
        key=["tenant", "name", "version"],
    )
    _table(
        "run",
        _text("run_id", 32),
        _text("tenant", 64),
        _text("collection", 100),
        _text("mode", 16),
        sa.Column("definition", LONG, nullable=False),
        sa.Column("of_file", LONG),
        _text("state", 24),
        _text("desired", 16),
        sa.Column("reason", LONG),
        _number("sweep"),
        sa.Column("planned", sa.Boolean, nullable=False),
        *_lease(),
        _text("flow_run_id", 36, nullable=True),
        _number("created_at"),
        _number("started_at", nullable=True),
        _number("ended_at", nullable=True),
        sa.Column("error", LONG),
        key=["run_id"],
        indexes={"run_of_collection": ["tenant", "collection", "created_at"]},
    )
    _table(
        "shard",
        _text("run_id", 32),
        _text("shard_id", 16),
        _text("stage", 64),
        _text("label", 200),
        sa.Column("span", LONG, nullable=False),
        _number("estimate"),
        _text("state", 24),
        sa.Column("cursor", LONG, nullable=False),
        *(_number(name) for name in ("page", "fetched", "quarantined")),
        sa.Column("attempts", sa.Integer, nullable=False),
        *_lease(),
        _number("started_at", nullable=True),
        _number("ended_at", nullable=True),
        sa.Column("error", LONG),
        key=["run_id", "shard_id"],
    )
    _table("counter", _text("name", 64), _number("value"), key=["name"])


def _ledger() -> None:
    _table(
        "batch",
        _text("batch_id", 255),
        _text("tenant", 64),
        _text("collection", 100),
        _text("run_id", 32),
        _text("shard_id", 16),
        _number("observation"),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("record_ids", LONG, nullable=False),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        _text("stage", 16),
        *(
            sa.Column(verdict, sa.Integer, nullable=False)
            for verdict in ("new", "changed", "unchanged", "deleted", "superseded")
        ),
        _number("published_at"),
        _number("done_at", nullable=True),
        key=["batch_id"],
        indexes={"batch_of_run": ["run_id"], "batch_of_collection": ["tenant", "collection", "stage"]},
    )
    _table(
        "quarantine",
        _text("run_id", 32),
        _text("shard_id", 16),
        sa.Column("page", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        _text("reason", 64),
        sa.Column("message", LONG, nullable=False),
        sa.Column("record_id", LONG),
        sa.Column("payload", BYTES, nullable=False),
        _number("created_at"),
        key=["run_id", "shard_id", "page", "position"],
    )


def _records(name: str, parent: str, own: sa.Column) -> None:
    _table(
        name,
        _text("tenant", 64),
        _text("collection", 100),
        _text("id", 255),
        _text(parent, 255, nullable=True),
        sa.Column("name", sa.Text, nullable=False),
        _text("path", 1000, nullable=True),
        own,
        _number("create_time"),
        _number("update_time"),
        _text("version", 36),
        _text("content_hash", 64),
        _number("seen"),
        sa.Column("deleted", sa.Boolean, nullable=False),
        _text("first_batch", 255),
        _text("last_batch", 255),
        key=["tenant", "collection", "id"],
        indexes={f"{name}_of_parent": ["tenant", "collection", parent]},
    )
