"""MariaDB: the metadata, with a user of its own; root gets in only through the socket, as root."""

import os
import shutil
from pathlib import Path

from deployments.dev_servers.server import DATABASE, USER, Server, write_secret
from deployments.ports import HOST

INSTALLER = "mariadb-install-db"


class MariaDb(Server):
    role, title, install = "metadata", "MariaDB", "apt-get install mariadb-server"
    programs = ("mariadbd", "/usr/sbin/mariadbd")

    @classmethod
    def program(cls) -> Path | None:
        return super().program() if shutil.which(INSTALLER) else None

    @property
    def environment(self) -> dict[str, str]:
        # Of its own: a server that starts takes away what looks left behind there, also what others are using.
        return {"TMPDIR": str(self.folder)}

    @property
    def url(self) -> str:
        return f"mysql+pymysql://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        statements = (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4",
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{self.secret}'",
            f"GRANT ALL ON *.* TO {USER}@'%'",
        )
        write_secret(self._first, "".join(f"{each};\n" for each in statements))
        # The other method leaves a root without a password to everybody on this machine.
        safe = ["--auth-root-authentication-method=socket", "--skip-test-db"]
        self.make_data([INSTALLER, "--no-defaults", *safe, *self._user], "--datadir")

    def command(self) -> list[str]:
        # A socket's name must be short: one without a folder stands in the data folder.
        where = [f"--datadir={self.data}", "--socket=socket", f"--pid-file={self.folder / 'pid'}"]
        listening = [f"--port={self.port}", f"--bind-address={HOST}", "--skip-name-resolve"]
        return [str(self.program()), "--no-defaults", *self._user, *where, *listening, f"--init-file={self._first}"]

    def greet(self) -> None:
        import pymysql

        pymysql.connect(host=HOST, port=self.port, user=USER, password=self.secret, database=DATABASE).close()

    @property
    def _first(self) -> Path:
        return self.folder / "init.sql"

    @property
    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []
