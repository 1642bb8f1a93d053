"""One program that runs: what it did, and what it, the servers and the machine used meanwhile."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import astuple, dataclass, field
from typing import Any

import pymongo
import redis

from bench.measuring import Machine, cpu, forget_peaks, highest_peak, settle
from bench.programs import ROOT, Program, Step
from bench.servers import Servers, Stores
from bench.source import Source
from blocks.addresses import ROLES

MOST_BUSY = 1.2  # of what the programs we know of used; beyond it others disturbed
MOST_STOLEN = 0.02


@dataclass(frozen=True)
class Run:
    """`cpu` (µs a case) and `peak` (MB) are by process. `delays`: ms from a page's arrival to all stores, a batch."""

    row: str
    rate: float
    cpu: Mapping[str, float]
    peak: Mapping[str, float]
    busy: float  # cores
    idle: float
    stolen: float  # share of the machine
    disturbed: bool
    delays: list[float] = field(default_factory=list, repr=False)

    @property
    def cost(self) -> float:
        """CPU µs a case, of all processes."""
        return sum(self.cpu.values())


@dataclass(frozen=True)
class Bench:
    servers: Servers
    source: Source
    cases: int

    def prepared(self, program: Program, name: str) -> Stores:
        stores = self.servers.emptied(name)
        if program.tables_by:
            environment = {f"COLLECT_{role.upper()}": url for role, url in zip(ROLES, astuple(stores), strict=True)}
            command = [program.python, "-m", *program.tables_by]
            subprocess.run(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)
        return stores

    def run(
        self, program: Program, step: Step, stores: Stores, address: str | None = None, cases: int = 0, *extra: str
    ) -> Run:
        """`cases`: how many it collects, if not all. A program that fails ends the benchmark."""
        cases = cases or self.cases
        self.source.show(step.shows)
        pids = self.servers.pids | {"nginx": self.source.pid}
        settle()
        for pid in pids.values():
            forget_peaks(pid)
        before, machine, began = {name: cpu(pid) for name, pid in pids.items()}, Machine.now(), time.perf_counter()
        done, clients = _done(program, step, [address or self.source.plain, *astuple(stores), *extra])
        used = {name: cpu(pid) - before[name] for name, pid in pids.items()}
        machine, seconds = Machine.now().since(machine), time.perf_counter() - began
        _check(step, done, cases)
        processes = done["processes"]
        return Run(
            row=program.row(step),
            rate=cases / done["seconds"],
            cpu={name: each / cases * 1e6 for name, each in _cpu(processes, used).items()},
            peak={name: each["peak"] for name, each in processes.items()}
            | {name: highest_peak(pid) for name, pid in pids.items()},
            busy=machine.busy / seconds,
            idle=machine.idle / seconds,
            stolen=machine.stolen / sum(machine),
            disturbed=machine.busy > MOST_BUSY * (clients + sum(used.values()))
            or machine.stolen > MOST_STOLEN * sum(machine),
            delays=done.get("delays", []),
        )

    def count(self, program: Program, stores: Stores) -> None:
        """Every case is in every store the program writes to; else the benchmark ends here."""
        with closing(stores.mysql()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {program.table}")
            found = {program.table: cursor.fetchone()[0]}
        if program.documents:
            with pymongo.MongoClient(stores.documents) as client:
                cases = {"type": {"$ne": "DIRECTORY"}}
                collection = client.get_default_database()[program.documents]
                found["documents"] = collection.count_documents(cases)
        if program.cached:
            with redis.Redis.from_url(stores.cache) as client:
                found["cache"] = client.dbsize()
        if wrong := {store: count for store, count in found.items() if count != self.cases}:
            raise SystemExit(f"{program.name} should have stored {self.cases} cases, but has {wrong}")


def _cpu(processes: Mapping[str, Mapping[str, float]], servers: Mapping[str, float]) -> dict[str, float]:
    return {name: each["cpu"] for name, each in processes.items()} | dict(servers)


def _done(program: Program, step: Step, arguments: list[str]) -> tuple[dict[str, Any], float]:
    """What it printed, and the seconds of CPU it took, its start and its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program.python, "-m", *(step.command or program.command), *arguments]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{program.name} ended with {process.returncode}:\n{process.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(process.stdout.splitlines()[-1]), used


def _check(step: Step, done: dict[str, Any], cases: int) -> None:
    if done["records"] < cases:
        raise SystemExit(f"of {cases} cases {done['records']} were collected")
    expected = done["records"] if step.written == 1 else round(step.written * cases)
    if done.get("written", expected) != expected:
        raise SystemExit(f"{step.name}: {expected} records were new or changed, {done['written']} were written")
