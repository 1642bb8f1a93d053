"""The loader as a process: it says when it is ready, and ends with whoever started it. And several, kept alive."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.queues.rabbitmq import RabbitQueue
from blocks.settings import Settings
from blocks.stores import open_storage

KEYS = {"k1": b"the secret of the tests"}
SECONDS = 60.0
# What every process of these tests begins with: the embedded stores, behind RabbitMQ.
BEHIND_RABBITMQ = """
import dataclasses, os
from contextlib import contextmanager
from blocks import stores
from blocks.queues.broker import Broker
from blocks.queues.deliveries import RabbitDeliveries
from blocks.queues.topology import Topology

embedded, keys = stores.open_storage, {"k1": os.environ["TEST_KEY"].encode()}

@contextmanager
def open_storage(settings):
    broker = Broker(os.environ["TEST_URL"], Topology(os.environ["TEST_QUEUE"], (0.1, 0.2)))
    with embedded(settings) as storage:
        yield dataclasses.replace(storage, deliveries=RabbitDeliveries(broker, keys))

stores.open_storage = open_storage
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""
LOADER = ("-m", "blocks.loader")


@pytest.fixture
def environment(tmp_path, broker):
    (tmp_path / "sitecustomize.py").write_text(BEHIND_RABBITMQ)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLLECT_")}
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    queue = {"TEST_URL": broker.url, "TEST_QUEUE": broker.topology.name, "TEST_KEY": KEYS["k1"].decode()}
    return inherited | queue | {"COLLECT_HOME": str(tmp_path / "home"), "COLLECT_LANG": "en", "PYTHONPATH": path}


@pytest.fixture
def start(environment):
    started = []

    def starting(*arguments, **options):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, *arguments], env=environment, text=True, **pipes | options))
        return started[-1]

    yield starting
    for each in started:
        each.kill()
        each.communicate()


@pytest.fixture
def loaded(environment, broker, new_batch, new_case, until):
    """Publishes a case, and answers when it is in the stores."""

    async def published(id):
        queue = RabbitQueue(broker, KEYS)
        await queue.publish(new_batch(new_case(id), page=f"{id}.0"))
        await queue.close()
        with open_storage(Settings.load()) as storage:
            until(lambda: storage.documents.read("default", "cases", "case", [id]))

    return published


@pytest.fixture(autouse=True)
def same_home(environment, monkeypatch):
    monkeypatch.setenv("COLLECT_HOME", environment["COLLECT_HOME"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_loads_until_it_is_told_to_end(start, loaded, number):
    process = start(*LOADER)
    assert process.stdout.readline() == "ready\n"
    await loaded("1")
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, ""), err


async def test_it_ends_with_its_stdin_when_it_is_told_so(start, loaded):
    process = start(*LOADER, "--while-fed", stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("a line is no end\n")
    process.stdin.flush()
    await loaded("1")
    assert process.poll() is None
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, ""), err


async def test_it_ends_when_its_parent_is_killed(start, until):
    parent = start("-c", PARENT, *LOADER, "--while-fed")
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == "ready\n"
    parent.kill()
    assert parent.stdout.read() == ""  # until the loader, too, has let go of it
    until(lambda: not Path(f"/proc/{pid}").exists())


async def test_it_goes_on_without_a_stdin_when_it_was_not_told_to_heed_it(start, loaded):
    process = start(*LOADER, stdin=subprocess.PIPE)
    process.stdin.close()
    process.stdin = None
    assert process.stdout.readline() == "ready\n"
    await loaded("1")
    assert process.poll() is None


def test_it_says_what_it_cannot_work_with(start, environment):
    environment["TEST_URL"] = environment["TEST_URL"].replace("guest:guest", "guest:wrong")
    process = start(*LOADER)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (2, "")
    assert "COL-0673" in err
    assert "Traceback" not in err
    assert "wrong" not in err


def test_it_imports_neither_prefect_nor_an_http_client(start):
    process = start("-c", "import sys, blocks.loader; print([n for n in ('prefect', 'httpx') if n in sys.modules])")
    assert process.communicate(timeout=SECONDS)[0] == "[]\n"


async def test_as_a_flow_it_loads_and_prefect_shows_it(start, environment, prefect_server, loaded):
    environment.update(prefect_server)
    process = start("-c", "import asyncio; from flows.load import load; asyncio.run(load())", stderr=subprocess.STDOUT)
    assert any("batches come" in line for line in process.stdout)
    await loaded("1")
    assert process.poll() is None


# ---- several, kept alive: collect load --------------------------------------------------------------------


def children(process):
    return set(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


@pytest.fixture
def two(start):
    """`collect load --replicas 2`, and its two loaders."""
    process = start("-m", "deployments.cli", "load", "--replicas", "2")
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "ready\n"], process.communicate()
    return process, children(process)


def test_a_loader_that_dies_is_replaced_and_all_end_with_the_command(two):
    process, first = two
    assert len(first) == 2
    os.kill(min(first), signal.SIGKILL)
    assert process.stdout.readline() == "ready\n"
    second = children(process)
    assert len(second) == 2
    assert second & first == {max(first)}
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, ""), err
    assert "ended with -9" in err
    assert not [pid for pid in first | second if Path(f"/proc/{pid}").exists()]


def test_loaders_end_when_the_command_is_killed(two, until):
    process, loaders = two
    process.kill()
    until(lambda: not [pid for pid in loaders if Path(f"/proc/{pid}").exists()])


def test_loaders_that_cannot_work_end_the_command(start, environment):
    environment["TEST_URL"] += "/nowhere"
    process = start("-m", "deployments.cli", "load", "--replicas", "2")
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (2, "")
    assert "COL-0674" in err
