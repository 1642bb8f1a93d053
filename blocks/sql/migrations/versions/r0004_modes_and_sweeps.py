"""What incremental runs and sweeps need: a selection and an epoch of each run, watermarks, tombstones."""

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGTEXT

from blocks.sql.migrations.steps import add_column, add_table

revision, down_revision = "0004", "0003"

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    for name, kind in (("epoch", sa.Integer), ("selection", LONG), ("source_time", sa.BigInteger), ("closing", LONG)):
        add_column("run", sa.Column(name, kind))
    add_column("shard", sa.Column("moved", sa.Boolean))
    add_column("batch", sa.Column("regressed", sa.Integer))
    for table in ("test_directory", "test_case"):
        add_column(table, sa.Column("tombstone", sa.BigInteger))
        add_column(table, sa.Column("missing", sa.BigInteger))
    add_table(
        "watermark",
        _text("tenant", 64),
        _text("collection", 100),
        sa.Column("value", sa.BigInteger),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("moved_by", sa.String(32)),
        sa.Column("moved_at", sa.BigInteger),
        key=["tenant", "collection"],
    )


def _text(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=False)
