"""The service over HTTP on the full stack: an import, reads at a pace, runs asked for at a pace, a whole tree.

    make bench-api                           three minutes
    .venv/bin/python -m bench.api --quick    a tenth of the nodes, a minute

Reads are offered in turn to the service and to a bare server that answers the same number of bytes: what the machine
does to that one is not the service's doing.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import orjson

from bench import servers
from bench.measuring import cpu
from bench.offering import Offered, offered
from bench.servers import Stores
from blocks.addresses import ROLES
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection
from collectors.sources.testrail import STAGES, TestRail
from collectors.testing.composing import Composer

READS, TRIGGERS = 200, 20  # a second
CASES_OF_A_DIRECTORY = 25
PATIENCE = 600.0
BARE = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2000")]})
    await send({"type": "http.response.body", "body": b"x" * 2000})
config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
config.load()
socket = config.bind_socket()
socket.listen(1024)
print(socket.getsockname()[1], flush=True)
uvicorn.Server(config).run(sockets=[socket])
"""


# ---- what is started ---------------------------------------------------------------------------------------


@contextmanager
def environment(stores: Stores) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        named = {f"COLLECT_{role.upper()}": getattr(stores, role) for role in ROLES}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COLLECT_"))}
        yield inherited | named | {"COLLECT_HOME": str(Path(folder) / "home")}


def collect(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "deployments.cli", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@contextmanager
def serving(environment: dict[str, str], *options: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "deployments.cli", "serve", "--port", "0", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())[0]
            _wait(lambda: _asked(f"{address}/api/health")["status"] == "ok")
            yield address, process.pid
        finally:
            process.terminate()


@contextmanager
def bare() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _wait(done: Any) -> None:
    give_up = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > give_up:
            raise SystemExit("it takes too long")
        time.sleep(0.1)


def _asked(address: str, key: str = "", body: bytes | None = None, kind: str = "application/json") -> Any:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    with urlopen(Request(address, body, headers), timeout=120) as answer:
        return json.load(answer)


# ---- what is measured --------------------------------------------------------------------------------------


def nodes(count: int) -> list[bytes]:
    """Lines of an import: a directory for 25 cases."""
    composer, (directories, cases) = Composer("1"), STAGES
    sections = composer.sections(count // (CASES_OF_A_DIRECTORY + 1))
    mapped = [TestRail.map(None, directories, each) for each in sections]
    rest = (orjson.loads(orjson.dumps(each)) for each in composer.cases(count - len(sections)))
    return [each.model_dump_json().encode() for each in [*mapped, *(TestRail.map(None, cases, each) for each in rest)]]


def imported(address: str, key: str, lines: Sequence[bytes], pid: int) -> dict[str, Any]:
    body = b"\n".join(lines)
    before, began = cpu(pid), time.perf_counter()
    told = _asked(f"{address}/api/testcase/import", key, body, "application/x-ndjson")
    accepted = time.perf_counter() - began

    def status() -> dict[str, Any]:
        return _asked(f"{address}{told['status']}", key)

    _wait(lambda: status()["state"] == "COMPLETED")
    seconds, done = time.perf_counter() - began, status()
    if done["progress"]["success"] != len(lines):
        raise SystemExit(f"not all nodes are in the stores: {done}")
    found = {"nodes": len(lines), "megabytes": len(body) / 2**20, "accepted": accepted, "seconds": seconds}
    return found | {"rate": len(lines) / seconds, "loading": done["seconds"], "cpu": cpu(pid) - before}


def reads(lines: Sequence[bytes], run_id: str, count: int) -> list[tuple[str, str, bytes]]:
    random, paths = Random(1), []
    for _ in range(count):
        node = orjson.loads(random.choice(lines))
        paths.append(
            random.choices(
                [
                    f"/api/testcase/{node['id']}?kind={node['kind']}",
                    f"/api/testcase/tree?root={node['parent_id'] or node['id']}&limit=100",
                    "/api/testcase/tree?limit=100",
                    f"/api/testcase/search?q={random.choice(('refund', 'login', 'pay', 'export', 'order'))}&limit=20",
                    f"/api/task/{run_id}/status",
                    "/api/runs?limit=20",
                ],
                weights=[60, 15, 5, 10, 5, 5],
            )[0]
        )
    return [("GET", path, b"") for path in paths]


def in_turn(address: str, plain: str, key: str, asked: Sequence[Any], turns: int) -> tuple[Offered, Offered]:
    ours, floor = Offered([], {}), Offered([], {})
    size = len(asked) // turns
    for turn in range(turns):
        some = asked[turn * size : (turn + 1) * size]
        for done, at in ((floor, plain), (ours, address)):
            found = asyncio.run(offered(at, key, some, READS))
            done.seconds.extend(found.seconds)
            for status, number in found.statuses.items():
                done.statuses[status] = done.statuses.get(status, 0) + number
    return ours, floor


def triggered(environment: dict[str, str], address: str, key: str, count: int) -> Offered:
    """Each asks for a run of a collection of its own, whose source does not answer; they are carried out meanwhile."""
    names = [f"triggered-{number}" for number in range(count)]
    os.environ.update(environment)
    with open_storage(Settings.load()) as storage:
        for name in names:
            source = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "k"}
            storage.registry.remember(Collection(name=name, collector="testrail", source=source))
    asked = [("POST", f"/api/collections/{name}/runs", b'{"mode":"full"}') for name in names]
    return asyncio.run(offered(address, key, asked, TRIGGERS))


def tree(address: str, key: str) -> dict[str, Any]:
    """The first page, and all of them."""
    first, count, cursor, began = [], 0, "", time.perf_counter()
    while cursor is not None:
        page = time.perf_counter()
        found = _asked(f"{address}/api/testcase/tree?limit=1000{cursor and f'&cursor={cursor}'}", key)
        first.append(time.perf_counter() - page)
        count, cursor = count + len(found["items"]), found["next"]
    return {"first": first[0], "slowest": max(first), "nodes": count, "seconds": time.perf_counter() - began}


def measure(count: int, seconds: int) -> dict[str, Any]:
    lines = nodes(count)
    with servers.running() as started, environment(started.emptied("perf")) as environ, bare() as plain:
        collect(environ, "storage", "migrate")
        key = json.loads(collect(environ, "keys", "create", "--role", "operator", "--json"))["key"]
        with serving(environ, "--workers", "2") as (address, pid):
            found: dict[str, Any] = {"import": imported(address, key, lines, pid)}
            run_id = _asked(f"{address}/api/runs", key)["items"][0]["run_id"]
            asked = reads(lines, run_id, READS * seconds)
            asyncio.run(offered(address, key, asked[:READS], READS))  # warms up
            found["reads"], found["floor"] = in_turn(address, plain, key, asked, 3)
            found["tree"] = tree(address, key)
            found["triggers"] = triggered(environ, address, key, TRIGGERS * seconds)
    return found


def told(found: dict[str, Any]) -> Iterator[str]:
    done, ours, floor = found["import"], found["reads"], found["floor"]
    yield (
        f"import       {done['nodes']:,} nodes, {done['megabytes']:.0f} MB: 202 after {done['accepted']:.2f} s, all in "
        f"the stores after {done['seconds']:.1f} s, {done['rate']:,.0f}/s ({done['nodes'] / done['loading']:,.0f}/s "
        "from its first page on)"
    )
    for name, each in (("reads", ours), ("bare server", floor), ("triggers", found["triggers"])):
        times = "  ".join(f"p{part * 100:g} {each.percentile(part) * 1000:.1f} ms" for part in (0.5, 0.95, 0.99))
        yield f"{name:<12} {times}  {each.statuses}"
    yield f"ratio        p99 of reads to that of a bare server: {ours.percentile(0.99) / floor.percentile(0.99):.1f}"
    walked = found["tree"]
    first, slowest = (f"{walked[name] * 1000:.0f} ms" for name in ("first", "slowest"))
    yield f"tree         first page of 1,000 after {first}, slowest {slowest}; all of it in {walked['seconds']:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.api", description="Measure the service over HTTP.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the nodes, a minute")
    given = parser.parse_args()
    print("\n".join(told(measure(*((10_000, 6) if given.quick else (100_000, 30))))))


if __name__ == "__main__":
    main()
