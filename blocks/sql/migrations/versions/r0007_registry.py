"""What is registered, when it is due and what became of that; settings that are changed at run time; who did what."""

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from blocks.sql.migrations.steps import add_column, add_table

revision, down_revision = "0007", "0006"

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")
OF_COLLECTION = ("tenant", "collection")


def upgrade() -> None:
    add_column("collection", sa.Column("created_by", sa.String(100)))
    add_column("run", sa.Column("version", sa.Integer))
    add_table(
        "registration",
        *_of_collection(),
        sa.Column("retired_at", sa.BigInteger),
        sa.Column("applied", LONG),
        sa.Column("failed", LONG),
        key=OF_COLLECTION,
    )
    add_table(
        "schedule",
        *_of_collection(),
        _text("slug", 64),
        sa.Column("rule", LONG, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("reason", LONG),
        sa.Column("switched_at", sa.BigInteger, nullable=False),
        sa.Column("told", sa.Boolean),
        sa.Column("next_at", sa.BigInteger),
        key=[*OF_COLLECTION, "slug"],
        indexes={"schedule_due": ["active", "next_at"]},
    )
    add_table(
        "tick",
        *_of_collection(),
        _text("slug", 64),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        _text("outcome", 16),
        sa.Column("reason", LONG),
        sa.Column("run_id", sa.String(32)),
        sa.Column("noticed_at", sa.BigInteger, nullable=False),
        key=[*OF_COLLECTION, "slug", "due_at"],
        indexes={"tick_of_run": ["run_id"], "tick_due": ["due_at"]},
    )
    add_table(
        "setting",
        *_of_collection(),
        _text("name", 64),
        sa.Column("version", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("value", LONG),
        sa.Column("reason", LONG),
        _text("set_by", 100),
        sa.Column("set_at", sa.BigInteger, nullable=False),
        key=[*OF_COLLECTION, "name", "version"],
    )
    add_table(
        "audit",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        _text("tenant", 64),
        _text("actor", 100),
        _text("action", 64),
        _text("subject", 255),
        sa.Column("details", LONG, nullable=False),
        _text("key_id", 64),
        _text("seal", 64),
        key=["number"],
        indexes={"audit_of_tenant": ["tenant", "number"]},
    )
    add_table(
        "audit_end",
        _text("name", 16),
        sa.Column("number", sa.BigInteger, nullable=False),
        _text("key_id", 64),
        _text("seal", 64),
        key=["name"],
    )


def _of_collection() -> tuple[sa.Column, sa.Column]:
    return _text("tenant", 64), _text("collection", 100)


def _text(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=False)
