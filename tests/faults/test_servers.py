"""Each server of the full stack struck in the middle of a run: it costs time, and nothing else."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pymongo
import pytest

from blocks.addresses import addresses
from blocks.settings import Settings
from blocks.sql.migrations import migrate
from blocks.sql.mysql import MysqlDatabase
from blocks.stores import open_storage
from deployments.dev_servers.kinds import MariaDb, MongoDb, RabbitMq, Redis

STRATEGY = "strategy: {shard_size: 400, page_size: 50, concurrency: 2}\n"
ROLES = {MariaDb: "metadata", MongoDb: "documents", Redis: "cache", RabbitMq: "queue"}
# Lost batches are taken for lost soon, and a hung server is given up soon.
HURRIED = """
import sys
from collectors import recovering
recovering.QUIET_SECONDS = 3.0
from deployments.cli import main
main()
"""
PATIENCE = 150.0


class Run:
    """A run of a slow source on four servers, of which one is a test's own."""

    def __init__(self, collect, source, urls) -> None:
        self.collect, self.source, self.urls = collect, source, urls
        collect.environment |= {f"COLLECT_{role.upper()}": url for role, url in urls.items()}
        database = MysqlDatabase(urls["metadata"])
        migrate(database)
        database.close()
        self._settings = Settings(collect.home, None, addresses(urls), {"url": b"to look only"})
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", HURRIED, "run", self.source.collection(extra=STRATEGY), "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(
            command, env=self.collect.environment, cwd=self.collect.home.parent, text=True, **pipes
        )

    def wait_for_batches(self, number: int) -> None:
        give_up = time.monotonic() + PATIENCE
        with open_storage(self._settings) as storage:
            while not (runs := storage.catalog.runs("default")) or len(self._entries(storage, runs)) < number:
                assert self._process.poll() is None, self._process.communicate()
                assert time.monotonic() < give_up

    @staticmethod
    def _entries(storage, runs):
        return storage.ledger.entries(runs[0]["run_id"])

    def assert_whole(self) -> dict:
        """It ends by itself, with everything the source has in every store, once."""
        out, err = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, f"{out}\n{err}"
        result, expected = json.loads(out), self.source.expected()
        assert (result["state"], result["records"]["new"]) == ("COMPLETED", len(expected))
        assert {
            key: (line["path"], line["content_hash"]) for key, line in self.collect.export("cases").items()
        } == expected
        assert self.collect.json("reconcile", "cases") == []
        entries = self.collect.json("ledger", result["run_id"])
        assert {entry["stage"] for entry in entries if entry["confirmed"]} == {"done"}
        with pymongo.MongoClient(self.urls["documents"]) as client:
            assert client.get_default_database()["test_case_detail"].count_documents({}) == len(expected)
        return result

    def close(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def run(collect, sample, own_server, metadata_url, documents_url, cache_url, queue_url):
    """`with run(KIND) as (it, server)`: that server is the test's own."""

    @contextmanager
    def running(kind):
        urls = {"metadata": metadata_url, "documents": documents_url, "cache": cache_url, "queue": queue_url}
        server = own_server(kind)
        urls[ROLES[kind]] = server.server.url
        with sample("--cases", "2000", "--directories", "60", "--page-size", "50", "--latency", "0.05") as source:
            it = Run(collect, source, urls)
            try:
                yield it, server
            finally:
                it.close()

    return running


def check_restart(run, kind):
    with run(kind) as (it, server):
        it.start()
        it.wait_for_batches(8)
        server.down(signal.SIGKILL)
        server.up()
        it.assert_whole()


@pytest.mark.parametrize("kind", [RabbitMq], ids=lambda kind: kind.title)
def test_a_server_that_is_killed_and_comes_back_costs_time_only(run, kind):
    check_restart(run, kind)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [MariaDb, MongoDb, Redis], ids=lambda kind: kind.title)
def test_any_server_that_is_killed_and_comes_back_costs_time_only(run, kind):
    check_restart(run, kind)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [MariaDb, MongoDb, Redis, RabbitMq], ids=lambda kind: kind.title)
def test_a_server_that_hangs_for_a_while_costs_time_only(run, kind):
    with run(kind) as (it, server):
        it.start()
        it.wait_for_batches(8)
        server.signal(signal.SIGSTOP)
        time.sleep(15)  # longer than every time limit of a client
        server.signal(signal.SIGCONT)
        it.assert_whole()


@pytest.mark.faults
def test_a_broker_that_loses_its_disk_loses_nothing(run):
    """While it is away batches are open, and what it held is gone for ever."""
    with run(RabbitMq) as (it, server):
        it.start()
        it.wait_for_batches(8)
        server.signal(signal.SIGSTOP)
        server.down(signal.SIGKILL)
        shutil.rmtree(server.server.data)
        server.up()
        it.assert_whole()


@pytest.mark.faults
def test_messages_that_are_not_ours_hold_nobody_up(run):
    with run(RabbitMq) as (it, server):
        it.start()
        it.wait_for_batches(4)
        subprocess.run([sys.executable, "-c", POISON, server.server.url], check=True)
        it.assert_whole()
        assert dead_letters(server.server.url) == 30


POISON = """
import asyncio, sys, aio_pika
async def poison():
    connection = await aio_pika.connect(sys.argv[1])
    channel = await connection.channel()
    for number in range(10):
        for body in (b"", b"{}", bytes(range(256))):
            message = aio_pika.Message(body, headers={"key": "url", "signature": "00", "tenant": "t", "schema": 1})
            await channel.default_exchange.publish(message, "collect")
    await connection.close()
asyncio.run(poison())
"""


def dead_letters(url: str) -> int:
    program = (
        "import asyncio, sys, aio_pika\n"
        "async def count():\n"
        "    connection = await aio_pika.connect(sys.argv[1])\n"
        "    queue = await (await connection.channel()).declare_queue('collect.dead', passive=True)\n"
        "    print(queue.declaration_result.message_count)\n"
        "    await connection.close()\n"
        "asyncio.run(count())\n"
    )
    assert urlsplit(url).hostname == "127.0.0.1"
    return int(subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True).stdout)
