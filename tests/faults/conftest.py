"""A small source of several shards and pages, and runs of it that fail where they are told to."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from blocks.addresses import addresses
from blocks.settings import Settings
from blocks.stores import Storage, open_storage

CASES, DIRECTORIES = 300, 130  # with this seed two directories stand a page before their parents: paths to put right
STRATEGY = "strategy: {shard_size: 150, page_size: 50, concurrency: 2}\n"
CRASHING = Path(__file__).with_name("crashing.py")
PATIENCE = 90.0


@dataclass(frozen=True)
class Undisturbed:
    """What a run without faults does: its requests, and the counts of its report."""

    requests: int
    records: dict[str, int]


@dataclass(frozen=True)
class Crash:
    """How things stood when the process was gone."""

    run_id: str
    state: str
    planned: bool
    open_shards: int
    unplaced: int
    requests: int
    said: str
    stderr: str


class Faults:
    """Runs of the collection in a home of their own, disturbed on purpose."""

    def __init__(self, collect: Any, source: Any, file: str, settings: Settings | None = None) -> None:
        self.collect, self.source, self.file = collect, source, file
        self._settings = settings
        self._started: list[subprocess.Popen[str]] = []

    # ---- processes -------------------------------------------------------------------------------------

    def start(self, target: str, when: str, nth: int, action: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(CRASHING), target, when, str(nth), action, "--", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            command, env=self.collect.environment, text=True, cwd=self.collect.home.parent, **pipes
        )
        self._started.append(process)
        return process

    def crash(self, target: str, when: str, nth: int, action: str, exit_code: int, *options: str) -> Crash:
        """A run that is struck there; fails when it ends in another way than with `exit_code`."""
        self.source.change("reset_stats")
        process = self.start(target, when, nth, action, "run", self.file, *options)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == exit_code, f"{target} {when} {nth}: {process.returncode}\n{out}\n{err}"
        return self._crashed(out, err)

    def freeze(self, process: subprocess.Popen[str]) -> None:
        """Stop the process, but not within a transaction: SQLite keeps everybody waiting for that one to go on."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            if not self._locked():
                return
            process.send_signal(signal.SIGCONT)
        raise AssertionError("it never was between two transactions")

    def _locked(self) -> bool:
        with closing(sqlite3.connect(self.collect.home / "collect.db", timeout=0.2)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False

    @staticmethod
    def first_to_end(processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.1)
                    return process
        raise AssertionError("no process ended")

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    # ---- how things stand ------------------------------------------------------------------------------

    @contextmanager
    def storage(self) -> Iterator[Storage]:
        with open_storage(self._settings or Settings(self.collect.home, None)) as storage:
            yield storage

    def run_id(self) -> str:
        with self.storage() as storage:
            return storage.catalog.runs("default")[0]["run_id"]

    def standing(self, run_id: str) -> list[dict[str, Any]]:
        """The run and its shards, without the leases a live run renews and the pages it goes on to read."""
        moving = {"lease_until", "cursor", "page", "fetched"}
        with self.storage() as storage:
            rows = [storage.catalog.run(run_id), *storage.catalog.shards(run_id)]
        return [{name: value for name, value in row.items() if name not in moving} for row in rows]

    def held(self) -> dict[tuple[str, str], tuple[str, str]]:
        return {key: (line["path"], line["content_hash"]) for key, line in self.collect.export("cases").items()}

    def requests(self) -> int:
        return self.source.ask("stats")["requests"]

    def unended_in_prefect(self, run_id: str) -> list[str]:
        """The flow runs of a run that Prefect believes to be under way."""
        body = json.dumps({"flow_runs": {"name": {"like_": run_id}}}).encode()
        url = f"{self.collect.environment['PREFECT_API_URL']}/flow_runs/filter"
        with urlopen(Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=30) as answer:
            found = json.load(answer)
        assert found
        at_rest = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"}
        return [each["name"] for each in found if each["state"]["type"] not in at_rest]

    def _crashed(self, stdout: str, stderr: str) -> Crash:
        run_id = self.run_id()
        with self.storage() as storage:
            run, shards = storage.catalog.run(run_id), storage.catalog.shards(run_id)
            rows = [row for kind in ("directory", "case") for row in self._rows(storage, kind)]
        return Crash(
            run_id=run_id,
            state=run["state"],
            planned=bool(run["planned"]),
            open_shards=sum(shard["state"] in ("RUNNING", "PAUSED") for shard in shards),
            unplaced=sum(row["path"] is None for row in rows),
            requests=self.requests(),
            said=stdout + stderr,
            stderr=stderr,
        )

    @staticmethod
    def _rows(storage: Storage, kind: str) -> list[dict[str, Any]]:
        return [row for chunk in storage.rows.live("default", "cases", kind) for row in chunk]


class Gate:
    """Where held processes wait: `wait()` until one is there, `open()` to let all of them go on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._held: list[socket.socket] = []

    @property
    def action(self) -> str:
        return f"hold:{self._listener.getsockname()[1]}"

    def wait(self) -> None:
        self._held.append(self._listener.accept()[0])

    def open(self) -> None:
        for connection in self._held:
            connection.close()

    def close(self) -> None:
        self.open()
        self._listener.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    try:
        yield gate
    finally:
        gate.close()


@pytest.fixture(scope="session")
def steady_source(tmp_path_factory: pytest.TempPathFactory, new_source: Callable[..., Any]) -> Iterator[Any]:
    """One source for all crashes: nobody changes it."""
    sizes = ("--cases", str(CASES), "--directories", str(DIRECTORIES), "--page-size", "50")
    with new_source(tmp_path_factory.mktemp("steady"), *sizes) as source:
        yield source


@pytest.fixture(scope="session")
def expected(steady_source: Any) -> dict[tuple[str, str], tuple[str, str]]:
    return steady_source.expected()


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: dict[str, str],
    new_collect: Callable[..., Any],
    steady_source: Any,
) -> Undisturbed:
    collect = new_collect(tmp_path_factory.mktemp("undisturbed") / "home", **prefect_server)
    steady_source.change("reset_stats")
    records = collect.json("run", steady_source.collection(extra=STRATEGY))["records"]
    return Undisturbed(steady_source.ask("stats")["requests"], records)


@pytest.fixture
def stack_faults(
    collect: Any,
    steady_source: Any,
    undisturbed: Undisturbed,
    metadata_url: str,
    documents_url: str,
    cache_url: str,
    queue_url: str,
) -> Iterator[Faults]:
    """The same on the full stack: the run starts a loader process beside itself."""
    urls = {"metadata": metadata_url, "documents": documents_url, "cache": cache_url, "queue": queue_url}
    collect.environment |= {f"COLLECT_{role.upper()}": url for role, url in urls.items()}
    collect("storage", "migrate")
    settings = Settings(collect.home, None, addresses(urls), {"url": b"for reading what was stored"})
    faults = Faults(collect, steady_source, steady_source.collection(extra=STRATEGY), settings)
    try:
        yield faults
    finally:
        faults.close()


@pytest.fixture
def faults(collect: Any, steady_source: Any, undisturbed: Undisturbed) -> Iterator[Faults]:
    faults = Faults(collect, steady_source, steady_source.collection(extra=STRATEGY))
    try:
        yield faults
    finally:
        faults.close()
