"""MariaDB, MongoDB, Redis and RabbitMQ for one benchmark: private, gone afterwards."""

import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pymongo
import pymysql
import redis

from deployments.dev_servers.kinds import MariaDb, MongoDb, RabbitMq, Redis
from deployments.dev_servers.starting import DevServer, all_down, all_up


@dataclass(frozen=True)
class Stores:
    """Addresses of the four, each with a database in its path."""

    metadata: str
    documents: str
    cache: str
    queue: str

    def mysql(self) -> pymysql.Connection:
        parts = urlsplit(self.metadata)
        to = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
        return pymysql.connect(**to, database=parts.path[1:], charset="utf8mb4", autocommit=True)


class Servers:
    """Four servers that run; `pids` are those of their first processes, by the names in KINDS."""

    def __init__(self, pids: Mapping[str, int], stores: Stores) -> None:
        self.pids, self._stores = pids, stores
        # As MySQL 8 has it; dlt makes a database without saying what text is.
        self._mysql("SET GLOBAL character_set_server = utf8mb4")

    def emptied(self, name: str) -> Stores:
        """Databases called `name`, made anew. The cache and the queue are shared, and left empty by who used them."""
        stores = Stores(
            metadata=_named(self._stores.metadata, name),
            documents=_named(self._stores.documents, name),
            cache=self._stores.cache,
            queue=self._stores.queue,
        )
        self._mysql(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        with pymongo.MongoClient(stores.documents) as client:
            client.drop_database(name)
        with redis.Redis.from_url(stores.cache) as client:
            client.flushdb()
        return stores

    def _mysql(self, *statements: str) -> None:
        with closing(self._stores.mysql()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


KINDS = {"mysql": MariaDb, "mongodb": MongoDb, "redis": Redis, "rabbitmq": RabbitMq}


@contextmanager
def running() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory() as folder:
        servers = {name: DevServer(kind, Path(folder) / name) for name, kind in KINDS.items()}
        try:
            addresses = all_up(list(servers.values()))
            yield Servers({name: server.pid for name, server in servers.items()}, Stores(**addresses))
        finally:
            all_down(list(servers.values()), signal.SIGKILL)  # nothing they hold is needed any more


def _named(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
