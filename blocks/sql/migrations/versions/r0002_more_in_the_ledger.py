"""A batch knows when its page had arrived, to tell its delay, and which directories its records left."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.add_column("batch", sa.Column("arrived_at", sa.BigInteger), if_not_exists=True)
    long = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")
    op.add_column("batch", sa.Column("left_directories", long), if_not_exists=True)
