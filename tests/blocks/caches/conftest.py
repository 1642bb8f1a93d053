"""Redis servers with options of a test's own, and caches on them."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from blocks.caches.redis_cache import RedisCache
from tests.freezing import freeze

SECONDS_TO_START = 20.0


class Server:
    """A Redis that can be killed, frozen and started again; what it saved it has again. PORT in options is its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self.port = folder, _free_port()
        self._options = [option.replace("PORT", str(self.port)) for option in options]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        files = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen(
            ["redis-server", *files, *self._options], stdout=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + SECONDS_TO_START
        while not self._listens():
            assert time.monotonic() < until and self._process.poll() is None, "it does not start"

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        freeze(self._process.pid)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a Redis for this test alone."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        folder = tmp_path / f"redis-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def client(cache_url: str) -> Iterator[redis.Redis]:
    """Any client of the cache."""
    with closing(redis.Redis.from_url(cache_url)) as opened:
        yield opened


@pytest.fixture
def connected() -> Iterator[Callable[[str], RedisCache]]:
    """Makes caches, each with connections of its own, as another process has."""
    caches: list[RedisCache] = []

    def connect(url: str) -> RedisCache:
        caches.append(RedisCache(url))
        return caches[-1]

    yield connect
    for cache in caches:
        cache.close()
