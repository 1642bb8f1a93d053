"""Changes of the tables, one a revision, in the order of their numbers. Each only adds what older code can ignore.

What is to go goes one release after the last code that uses it: old and new processes work side by side meanwhile.
"""

from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from blocks.sql.mysql import MysqlDatabase
from blocks.sql.tables import SCHEMA
from collectors.errors import Refused

BEFORE_MIGRATIONS = 1  # schemas of SQLite files older than the first revision
HEAD = f"{SCHEMA - BEFORE_MIGRATIONS:04}"
LOCK = "platform-collect.migrate"
SECONDS_TO_WAIT = 60
SECONDS_OF_A_CHANGE = 3600  # of large tables


def migrate(database: MysqlDatabase) -> tuple[str | None, str]:
    """Bring the tables to what this version needs, one process at a time; answers the revision before and after.

    Raises Refused while another process does it.
    """
    with closing(MysqlDatabase(database.url, answer=SECONDS_OF_A_CHANGE)) as patient, patient.write() as connection:
        lock = {"name": LOCK, "seconds": SECONDS_TO_WAIT}
        if not connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), lock):
            raise Refused(
                "another process is changing the tables of {server}",
                "Wait for its end, then: collect storage migrate",
                code="COL-0628",
                server=database.server,
            )
        # The lock ends with the connection.
        before = revision(connection)
        upgrade(connection)
        return before, revision(connection)


def revision(connection: Connection) -> str | None:
    """The revision the tables have; None where there are none."""
    names = connection.dialect.get_table_names(connection)
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if "alembic_version" in names else None


def upgrade(connection: Connection, since: str | None = None) -> None:
    """`since`: the revision of tables that were made without a note of it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    if since:
        command.stamp(config, since, purge=True)
    command.upgrade(config, "head")
