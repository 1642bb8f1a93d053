"""Private servers beside each other."""

import signal
from pathlib import Path

import sqlalchemy

from deployments.dev_servers.kinds import MariaDb
from deployments.dev_servers.starting import DevServer


def test_a_mariadb_keeps_its_temporary_files_to_itself_in_a_folder_with_a_blank(tmp_path):
    """One that starts takes away what is left in its folder for them, and would take that of all the others."""
    server = DevServer(MariaDb, tmp_path / "a folder" / "metadata")
    try:
        engine = sqlalchemy.create_engine(server.up())
        with engine.connect() as connection:
            used = connection.scalar(sqlalchemy.text("SELECT @@tmpdir"))
        engine.dispose()
        assert Path(used) == server.folder
    finally:
        server.down(signal.SIGKILL)
