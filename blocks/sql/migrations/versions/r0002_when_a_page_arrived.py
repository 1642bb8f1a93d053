"""A batch knows when its page had arrived, so that the delay until it is in every store can be told."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.add_column("batch", sa.Column("arrived_at", sa.BigInteger), if_not_exists=True)
