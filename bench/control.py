"""Verbs at a pace while runs are under way; how soon they take effect; how a run of many shards is shown.

    make bench-control                          eight minutes
    .venv/bin/python -m bench.control --quick   half as long

Ten runs of a hundred shards each are carried out by the service on embedded stores, from sources that take half a
second for a page; a bare server is asked at the same pace beside it: what the machine does to that one is not the
service's doing.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from bench.api import bare, collect, serving
from bench.measuring import cpu
from bench.offering import Offered, offered
from blocks.settings import Settings
from blocks.stores import Storage, open_storage
from collectors.models import Collection, ShardPlan

RUNS, SHARDS, PAGE, PAGES = 10, 100, 10, 20
VERBS = 50  # a second
LATENCY = 0.5
MANY = 10_000
PATIENCE = 300.0


@contextmanager
def source() -> Iterator[str]:
    options = ("--cases", str(SHARDS * PAGES * PAGE), "--directories", "1", "--latency", str(LATENCY))
    command = [sys.executable, "-m", "deployments.cli", "sample", "--port", "0", "--page-size", str(PAGE), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://\S+", process.stdout.readline())[0]
        finally:
            process.terminate()


@contextmanager
def embedded() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "COLLECT_"))}
        environment = inherited | {"COLLECT_HOME": str(Path(folder) / "home")}
        os.environ["COLLECT_HOME"] = environment["COLLECT_HOME"]
        try:
            yield environment
        finally:
            collect(environment, "down")


def definition(name: str, url: str, shards: int = SHARDS, concurrency: int = 2) -> Collection:
    parameters = {"base_url": url, "project_id": 1, "suite_id": 1, "username": "u", "api_key": "k"}
    strategy = {"shard_size": PAGES * PAGE * SHARDS // shards, "page_size": PAGE, "concurrency": concurrency}
    return Collection(name=name, collector="testrail", source=parameters, strategy=strategy)


class Service:
    def __init__(self, address: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        )

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def post(self, path: str) -> Any:
        return self._client.post(path).raise_for_status().json()

    def shards(self, run: str, state: str) -> list[str]:
        return [each["shard_id"] for each in self.get(f"/api/task/{run}/shards")["shards"] if each["state"] == state]


def waited(condition: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise SystemExit("it takes too long")
        time.sleep(0.02)
    return found


def started(service: Service, storage: Storage, url: str, count: int) -> list[str]:
    names = [f"run-{number}" for number in range(count)]
    for name in names:
        storage.registry.remember(definition(name, url))
    runs = [service.post(f"/api/collections/{name}/runs")["run_id"] for name in names]
    waited(
        lambda: all(service.shards(run, "RUNNING") and len(service.shards(run, "PENDING")) > SHARDS / 2 for run in runs)
    )
    return runs


def pace(address: str, plain: str, key: str, shards: Sequence[str], seconds: int) -> tuple[Any, Any]:
    """Pause and resume of shards here and there, beside a bare server."""
    random, asked = Random(1), []
    for _ in range(VERBS * seconds // 2):
        at = random.choice(shards)
        asked += [("POST", f"{at}/pause", b"{}"), ("POST", f"{at}/resume", b"{}")]
    floor = asyncio.run(offered(plain, key, asked[: VERBS * 5], VERBS))
    return floor, asyncio.run(offered(address, key, asked, VERBS))


def effects(service: Service, storage: Storage, url: str, times: int) -> tuple[list[float], list[float]]:
    """Seconds from a pause of a shard that is read until it is PAUSED, and from its resume until it is read again: of a
    run with a place for each of its shards, since what is resumed takes the next free one."""
    storage.registry.remember(definition("effects", url, shards=4, concurrency=4))
    run = service.post("/api/collections/effects/runs")["run_id"]
    paused, resumed = [], []
    for _ in range(times):
        shard = waited(lambda: service.shards(run, "RUNNING"))[0]
        at, began = f"/api/task/{run}/shards/{shard}", time.perf_counter()
        state = service.post(f"{at}/pause?wait=30")["state"]
        if state == "COMPLETED":
            continue
        paused.append(time.perf_counter() - began)
        began = time.perf_counter()
        service.post(f"{at}/resume")
        waited(lambda name=shard: name not in service.shards(run, "PAUSED") + service.shards(run, "RESUMING"))
        resumed.append(time.perf_counter() - began)
    return paused, resumed


def many(storage: Storage, service: Service, url: str) -> list[float]:
    """Seconds for the status of a run of ten thousand shards."""
    storage.registry.remember(definition("many", url))
    claim = storage.catalog.begin(definition("many", url), "elsewhere:1:1")
    claim = storage.catalog.lead(claim.run_id, "elsewhere:1:1")
    plans = [
        ShardPlan(shard_id=f"s{number:05}", stage="cases", label=f"cases {number}", span={}, estimate=10)
        for number in range(MANY)
    ]
    storage.catalog.save_plan(claim, plans, time.time())
    took = []
    for _ in range(20):
        began = time.perf_counter()
        service.get(f"/api/task/{claim.run_id}/status")
        took.append(time.perf_counter() - began)
    return took


def milliseconds(seconds: Sequence[float], part: float) -> float:
    return Offered([*seconds], {}).percentile(part) * 1_000


def measure(seconds: int, times: int) -> dict[str, Any]:
    with embedded() as environ, bare() as plain, source() as url:
        key = json.loads(collect(environ, "keys", "create", "--role", "operator", "--json"))["key"]
        with serving(environ, "--runs", str(RUNS)) as (address, pid), open_storage(Settings.load()) as storage:
            service = Service(address, key)
            runs = started(service, storage, url, RUNS)
            shards = [f"/api/task/{run}/shards/{id}" for run in runs for id in service.shards(run, "PENDING")]
            before = cpu(pid)
            floor, ours = pace(address, plain, key, shards, seconds)
            found = {
                "verbs": len(ours.seconds), "answers": ours.statuses,
                "p50": milliseconds(ours.seconds, 0.5), "p99": milliseconds(ours.seconds, 0.99),
                "bare p50": milliseconds(floor.seconds, 0.5), "bare p99": milliseconds(floor.seconds, 0.99),
                "cpu": cpu(pid) - before,
            }  # fmt: skip
            for run in runs:
                service.post(f"/api/task/{run}/cancel?wait=30")
            paused, resumed = effects(service, storage, url, times)
            shown = many(storage, service, url)
    return found | {
        "pauses": len(paused), "pause p95": milliseconds(paused, 0.95), "resume p95": milliseconds(resumed, 0.95),
        "status p50": milliseconds(shown, 0.5), "status worst": max(shown) * 1000,
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    return "\n".join(
        [
            "| what | measured | goal |",
            "|---|---:|---:|",
            f"| {found['verbs']} verbs at {VERBS}/s, {RUNS} runs of {SHARDS} shards: p50 | {found['p50']:.0f} ms | |",
            f"| p99 | {found['p99']:.0f} ms | 100 ms |",
            f"| a bare server beside it: p50, p99 | {found['bare p50']:.0f}, {found['bare p99']:.0f} ms | |",
            f"| from `pause` to PAUSED, {found['pauses']} shards: p95 | {found['pause p95']:.0f} ms | 2,000 ms |",
            f"| from `resume` until it is read: p95 | {found['resume p95']:.0f} ms | 1,000 ms |",
            f"| status of a run of {MANY:,} shards: p50, worst | {found['status p50']:.0f}, "
            f"{found['status worst']:.0f} ms | 100 ms |",
            "",
            f"answers: {found['answers']}; the service took {found['cpu']:.1f} s of CPU",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer verbs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(10, 5) if options.quick else measure(40, 20)
    print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
