"""What all tests share: a folder of their own, the command line, the sample source, one Prefect server a session."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import hypothesis
import pymysql
import pytest
import redis

from blocks.sql.sqlite import SqliteDatabase
from collectors.registry import GROUP
from deployments.dev_servers.kinds import MariaDb, MongoDb, RabbitMq, Redis, Server
from deployments.dev_servers.stack import all_down
from deployments.dev_servers.starting import DevServer

# Machines are shared, and tests run side by side: how long an example takes says nothing.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
ROOT = Path(__file__).parent.parent
PATIENCE = 30.0
LONG = ("tests/faults/", "tests/acceptance/", "tests/docs/", "tests/bench/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kiwi", default="", help="address of a Kiwi TCMS server to collect from")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes begin first: else one worker is left with them when the other has nothing to do."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


class Collect:
    """The installed command, in a folder of its own."""

    python = sys.executable

    def __init__(self, home: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COLLECT_"))}
        self.home = home
        self.environment = inherited | {"COLLECT_HOME": str(home), "NO_COLOR": "1"} | environment

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [self.python, "-m", "deployments.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environment, text=True, cwd=self.home.parent, **pipes | options)

    def __call__(self, *arguments: str, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == exit_code, f"collect {' '.join(arguments)}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", exit_code=exit_code).stdout)

    def export(self, collection: str) -> dict[tuple[str, str], dict[str, Any]]:
        lines = self("export", collection, "--format", "jsonl").stdout.splitlines()
        return {(line["kind"], line["id"]): line for line in map(json.loads, lines)}


class Source:
    """A running sample source, and the file of a collection that reads it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def change(self, verb: str, **body: Any) -> Any:
        data = json.dumps(body).encode()
        request = Request(f"{self.url}/_sample/{verb}", data=data, headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ask(self, what: str) -> Any:
        with urlopen(f"{self.url}/_sample/{what}", timeout=60) as answer:
            return json.load(answer)

    def expected(self) -> dict[tuple[str, str], tuple[str, str]]:
        return {(each["kind"], each["id"]): (each["path"], each["content_hash"]) for each in self.ask("expected")}

    def collection(self, name: str = "cases", extra: str = "") -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"name: {name}\ncollector: testrail\nsource:\n  base_url: {self.url}\n  project_id: 1\n  suite_id: 1\n"
            f"  username: reader\n  api_key: secret-key\n{extra}",
            encoding="utf-8",
        )
        return str(path)


@contextmanager
def sample_source(folder: Path, *options: str) -> Iterator[Source]:
    command = [sys.executable, "-m", "deployments.cli", "sample", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline()
            yield Source(re.search(r"http://\S+", ready)[0], folder)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that leads to the session's Prefect server."""
    collect = Collect(tmp_path_factory.mktemp("prefect") / "home")
    try:
        address = re.search(r"http://\S+", collect("up", "--port", "0").stdout)[0]
        yield {"PREFECT_API_URL": f"{address}/api", "PREFECT_HOME": str(collect.home / "prefect")}
    finally:
        collect("down")


# ---- servers of the full stack -----------------------------------------------------------------------------


class Servers:
    """Starts servers of its own below a folder, and ends them; a test may strike and restart those it has started."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._started = folder, []

    def start(self, kind: type[Server], name: str = "shared") -> DevServer:
        self._started.append(DevServer(kind, self._folder / name / kind.role))
        self._started[-1].up()
        return self._started[-1]

    def close(self) -> None:
        for each in self._started:
            each.signal(signal.SIGCONT)
        all_down(self._started, signal.SIGKILL)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    started = Servers(tmp_path_factory.mktemp("servers"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="session")
def mariadb(servers: Servers) -> DevServer:
    return servers.start(MariaDb)


@pytest.fixture(scope="session")
def mongodb(servers: Servers) -> DevServer:
    return servers.start(MongoDb)


@pytest.fixture(scope="session")
def redis_server(servers: Servers) -> DevServer:
    return servers.start(Redis)


@pytest.fixture(scope="session")
def rabbitmq(servers: Servers) -> DevServer:
    return servers.start(RabbitMq)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[[type[Server]], DevServer]]:
    """Starts a server for one test, which may kill, freeze and restart it."""
    started = Servers(tmp_path / "own")
    try:
        yield lambda kind: started.start(kind, f"s{len(started._started)}")
    finally:
        started.close()


_names = count(1)


def _another(url: str, path: str) -> str:
    return urlsplit(url)._replace(path=f"/{path}").geturl()


@pytest.fixture(scope="session")
def new_metadata_url(mariadb: DevServer) -> Callable[[], str]:
    """Makes empty databases."""

    def made() -> str:
        name, parts = f"test{next(_names)}", urlsplit(mariadb.server.url)
        to = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
        with closing(pymysql.connect(**to)) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return _another(mariadb.server.url, name)

    return made


@pytest.fixture
def metadata_url(new_metadata_url: Callable[[], str]) -> str:
    return new_metadata_url()


@pytest.fixture(scope="session")
def new_documents_url(mongodb: DevServer) -> Callable[[], str]:
    """Names databases without anything in them."""
    return lambda: _another(mongodb.server.url, f"test{next(_names)}")


@pytest.fixture
def documents_url(new_documents_url: Callable[[], str]) -> str:
    return new_documents_url()


@pytest.fixture
def cache_url(redis_server: DevServer) -> str:
    """An empty cache."""
    with redis.Redis.from_url(redis_server.server.url) as client:
        client.flushall()
    return redis_server.server.url


@pytest.fixture
def queue_url(rabbitmq: DevServer) -> str:
    """A virtual host without queues."""
    name = f"test{next(_names)}"
    rabbitmqctl(rabbitmq, "add_vhost", name)
    rabbitmqctl(rabbitmq, "set_permissions", "-p", name, "collect", ".*", ".*", ".*")
    return _another(rabbitmq.server.url, name)


@pytest.fixture
def ctl(rabbitmq: DevServer) -> Callable[..., str]:
    """Tells RabbitMQ what rabbitmqctl can tell it."""
    return partial(rabbitmqctl, rabbitmq)


def rabbitmqctl(broker: DevServer, *arguments: str) -> str:
    server = broker.server
    program = server.program().with_name("rabbitmqctl")
    environment = {**os.environ, **server.environment}
    command = [program, "-n", server.node, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def collect(tmp_path: Path, prefect_server: dict[str, str]) -> Collect:
    return Collect(tmp_path / "home", **prefect_server)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    with sample_source(tmp_path, "--cases", "600", "--directories", "40", "--page-size", "50") as found:
        yield found


@pytest.fixture
def sample(tmp_path: Path):
    """Starts sample sources with given options: `with sample("--latency", "0.1") as source`."""
    return lambda *options: sample_source(tmp_path, *options)


@pytest.fixture(scope="session")
def new_collect() -> type[Collect]:
    return Collect


@pytest.fixture(scope="session")
def new_source():
    return sample_source


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Installs a package with one entry point: what pip would leave behind."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(value: str, code: str, name: str = "house") -> None:
        module = value.partition(":")[0]
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return installed


@pytest.fixture
def own_prefect(prefect_server: dict[str, str]) -> Iterator[dict[str, str]]:
    """The session's Prefect server, which afterwards knows of no stores: empty folders of other tests ask it, too."""
    yield prefect_server
    api, headers = prefect_server["PREFECT_API_URL"], {"Content-Type": "application/json"}
    with urlopen(Request(f"{api}/block_documents/filter", b"{}", headers), timeout=30) as answer:
        known = json.load(answer)
    for block in known:
        urlopen(Request(f"{api}/block_documents/{block['id']}", method="DELETE"), timeout=30).close()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Ask until the answer is true; answers it."""

    def waited(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        give_up = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < give_up, "it never came true"
        return found

    return waited


@pytest.fixture
def alter() -> Callable[..., int]:
    """Changes a database behind the back of the product."""

    def altered(database: SqliteDatabase, statement: str, *values: Any) -> int:
        with closing(sqlite3.connect(database.path, timeout=PATIENCE)) as connection, connection:
            return connection.execute(statement, values).rowcount

    return altered
