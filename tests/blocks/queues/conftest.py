"""A RabbitMQ of our own, started as a child and ended by its pid."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from blocks.queues.broker import Broker, Patience
from blocks.queues.topology import Topology
from tests.freezing import freeze

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
SECONDS_TO_START = 60.0
SECONDS_TO_COME = 20.0
NUMBERS = count(1)


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

    def freeze(self) -> None:
        freeze(self._process.pid)

    def thaw(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server for tests that do harm to it; it is well again after each of them."""
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
def new_broker() -> Callable[..., Broker]:
    """Queues of their own, and little patience."""

    def made(url: str, answer: float = 5.0, altogether: float = 15.0, **topology: Any) -> Broker:
        values = {"name": f"test{next(NUMBERS)}", "delays": (0.1, 0.2)} | topology
        return Broker(url, Topology(**values), Patience(answer, altogether))

    return made


@pytest.fixture
def broker(rabbitmq: str, new_broker: Callable[..., Broker]) -> Broker:
    return new_broker(rabbitmq)


class Counter:
    """What another program does with the broker, past our own code."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel

    async def put(self, queue: str, body: bytes, **properties: Any) -> None:
        await self.channel.default_exchange.publish(aio_pika.Message(body, **properties), queue)

    async def get(self, queue: str) -> AbstractIncomingMessage:
        """The next message of the queue, which is gone then."""
        found = await self.channel.get_queue(queue, ensure=False)
        give_up = time.monotonic() + SECONDS_TO_COME
        while not (message := await found.get(fail=False)):
            assert time.monotonic() < give_up, f"nothing came into {queue}"
        await message.ack()
        return message

    async def holds(self, queue: str) -> int:
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count


@pytest.fixture
def counter(rabbitmq: str) -> Callable[[], Any]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Counter]:
        async with await aio_pika.connect(rabbitmq) as connection:
            yield Counter(await connection.channel(on_return_raises=True))

    return opened


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
