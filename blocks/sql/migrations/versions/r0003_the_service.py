"""What the service needs: runs that wait to be carried out, requests made once, imports on their way, keys."""

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import MEDIUMBLOB

from blocks.sql.migrations.steps import add_column, add_index, add_table

revision, down_revision = "0003", "0002"

BYTES = sa.LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    add_column("run", sa.Column("awaited", sa.Boolean))
    add_index("run_awaited", "run", ["awaited", "state"])
    add_table(
        "request",
        _text("tenant", 64),
        _text("idempotency_key", 255),
        _text("fingerprint", 64),
        _text("run_id", 32),
        _moment("created_at"),
        key=["tenant", "idempotency_key"],
    )
    add_table(
        "spool",
        _text("run_id", 32),
        _text("stage", 64),
        sa.Column("part", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("content", BYTES, nullable=False),
        _moment("created_at"),
        key=["run_id", "stage", "part"],
    )
    add_table(
        "api_key",
        _text("key_id", 16),
        _text("secret_hash", 64),
        _text("tenant", 64),
        _text("role", 16),
        _text("name", 100),
        _moment("created_at"),
        _moment("expires_at"),
        sa.Column("revoked_at", sa.BigInteger),
        key=["key_id"],
    )


def _text(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=False)


def _moment(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger, nullable=False)
