"""A RabbitMQ of our own, started as a child and ended by its pid."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
KEYS = {"k1": b"a secret of the tests"}
SECONDS_TO_START = 60.0


class Node:
    """A RabbitMQ server that can be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, _free_port()
        (folder / "plugins").write_text("[].\n")
        cookie = f"-setcookie {folder.name}"
        self._environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"rabbit{self._port}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": cookie,
            "RABBITMQ_CTL_ERL_ARGS": cookie,
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}"

    def start(self) -> None:
        with (self._folder / "out").open("a") as out:
            self._process = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self._environment,
                start_new_session=True,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        give_up = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            assert time.monotonic() < give_up and self._process.poll() is None, (self._folder / "out").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with closing(socket.create_connection(("127.0.0.1", self._port), timeout=1)) as probe:
                probe.sendall(b"AMQP\0\0\x09\x01")
                return bool(probe.recv(8))
        except OSError:
            return False

    def tell(self, *arguments: str) -> str:
        command = [PROGRAMS / "rabbitmqctl", "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    started = Node(tmp_path_factory.mktemp("rabbitmq"))
    started.start()
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture(scope="session")
def rabbitmq(node: Node) -> str:
    return node.url


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
