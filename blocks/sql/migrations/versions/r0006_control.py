"""What is desired of single shards, where shards run, and for how long nobody worked on a run."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

from blocks.sql.migrations.steps import add_column

revision, down_revision = "0006", "0005"

LONG = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    add_column("run", sa.Column("idle", sa.BigInteger))
    add_column("run", sa.Column("rested_at", sa.BigInteger))
    add_column("run", sa.Column("placement", sa.String(16)))
    add_column("run", sa.Column("placement_reason", LONG))
    add_column("run", sa.Column("mirrored", sa.String(16)))
    add_column("run", sa.Column("desired_at", sa.BigInteger))
    add_column("shard", sa.Column("desired", sa.String(16)))
    add_column("shard", sa.Column("reason", LONG))
    add_column("shard", sa.Column("idle", sa.BigInteger))
    add_column("shard", sa.Column("flow_run_id", sa.String(36)))
    add_column("shard", sa.Column("mirrored", sa.String(16)))
    add_column("shard", sa.Column("desired_at", sa.BigInteger))
    # What was interrupted could be gone on with by anybody; "pause" means from now on that somebody has to say so.
    op.execute("UPDATE run SET desired = 'leave' WHERE desired = 'pause'")
