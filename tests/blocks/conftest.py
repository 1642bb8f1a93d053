"""Stores on real files, and real processes that use them at the same time."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog, documents
from collectors.models import Batch, Collection, Record

PATIENCE = 30.0


class Processes:
    """Python processes that say a line when they are ready, and read lines that tell them to go on."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, program: str, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, bufsize=1, **pipes | options)
        self._started.append(process)
        return process

    def sleeper(self) -> subprocess.Popen[str]:
        """A process that lives until it is told otherwise."""
        process = self.start("print('ready', flush=True); input()")
        assert process.stdout.readline() == "ready\n"
        return process

    def at_once(self, program: str, times: int, *arguments: Any) -> list[str]:
        """What `times` processes print, that all begin when the last of them is ready."""
        processes = [self.start(program, *arguments) for _ in range(times)]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.communicate(timeout=PATIENCE)
        for process in processes:
            process.stdin.write("go\n")
        found = [process.communicate(timeout=PATIENCE) for process in processes]
        assert [process.returncode for process in processes] == [0] * times, found
        return [out for out, _ in found]

    @staticmethod
    def zombie(process: subprocess.Popen[str]) -> None:
        """Kill it without asking for its end, so that it stays in the table of processes."""
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def open_database(tmp_path: Path) -> Iterator[Callable[..., SqliteDatabase]]:
    """Opens databases, and closes them in the end."""
    opened: list[SqliteDatabase] = []

    def opening(path: Path | None = None, tables: Any = catalog, schema: int = SCHEMA) -> SqliteDatabase:
        opened.append(SqliteDatabase(path or tmp_path / "collect.db", tables, schema))
        return opened[-1]

    try:
        yield opening
    finally:
        for each in opened:
            each.close()


@pytest.fixture
def database(open_database: Callable[..., SqliteDatabase]) -> SqliteDatabase:
    return open_database()


@pytest.fixture
def details(open_database: Callable[..., SqliteDatabase], tmp_path: Path) -> SqliteDatabase:
    return open_database(tmp_path / "documents.db", documents)


@pytest.fixture
def dump() -> Callable[[SqliteDatabase], dict[str, list[tuple[Any, ...]]]]:
    """Everything that stands in a database: its rows by table."""

    def dumped(database: SqliteDatabase) -> dict[str, list[tuple[Any, ...]]]:
        with closing(sqlite3.connect(database.path)) as connection:
            stored = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'"
            names = [name for (name,) in connection.execute(stored)]
            return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}

    return dumped


@pytest.fixture
def definition() -> Callable[..., Collection]:
    def defined(name: str = "cases", **values: Any) -> Collection:
        source = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "env:KEY"}
        return Collection(**{"name": name, "collector": "testrail", "source": source} | values)

    return defined


@pytest.fixture
def new_directory() -> Callable[..., Record]:
    def made(id: str, parent_id: str | None = None, name: str = "", **values: Any) -> Record:
        return Record(kind="directory", id=id, parent_id=parent_id, name=name or f"d{id}", **values)

    return made


@pytest.fixture
def new_case() -> Callable[..., Record]:
    def made(id: str, parent_id: str | None = None, name: str = "", **values: Any) -> Record:
        return Record(kind="case", id=id, parent_id=parent_id, name=name or f"c{id}", **values)

    return made


@pytest.fixture
def new_batch() -> Callable[..., Batch]:
    def made(*records: Record, observation: int = 1, page: str = "0.0", run_id: str = "r1", **values: Any) -> Batch:
        fields = {"tenant": "default", "collection": "cases", "shard_id": "s01"} | values
        return Batch(run_id=run_id, page=page, observation=observation, records=records, **fields)

    return made
