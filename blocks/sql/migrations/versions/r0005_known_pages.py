"""What pages of full runs said, so that equal ones are not read record by record; how often a shard failed."""

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from blocks.sql.migrations.steps import add_column, add_table

revision, down_revision = "0005", "0004"

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    add_column("shard", sa.Column("failures", sa.Integer))
    add_column("run", sa.Column("round", sa.Integer))
    add_table(
        "known_page",
        _text("tenant", 64),
        _text("collection", 100),
        _text("place", 64),
        _text("items_hash", 64),
        _text("rows_hash", 64),
        sa.Column("ids", LONG, nullable=False),
        sa.Column("cursor", LONG, nullable=False),
        sa.Column("etag", LONG),
        sa.Column("observation", sa.BigInteger, nullable=False),
        key=["tenant", "collection", "place"],
    )


def _text(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=False)
