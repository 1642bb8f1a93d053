"""SQLite as a store that several threads and processes share: WAL, one writer at a time, readers never wait."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, MetaData, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as QueuedTooLong

from blocks.process import locked
from blocks.sql.sealing import Seals
from collectors.errors import CollectError, Misconfigured, Unusable

PATIENCE_SECONDS = 30.0
LOOK_EVERY = 0.002
FAILURES = (DBAPIError, sqlite3.Error, QueuedTooLong, UnicodeEncodeError)
# What SQLite's primary error codes mean to people.
TROUBLES: dict[int, tuple[type[CollectError], str, str, str]] = (
    {
        sqlite3.SQLITE_FULL: (
            Unusable,
            "COL-0602",
            "{path} cannot grow: there is no space left",
            "Make space, then: collect resume RUN (collect status names it)",
        ),
        sqlite3.SQLITE_IOERR: (
            Unusable,
            "COL-0603",
            "{path} cannot be read or written: {why}",
            "Check the disk, its free space and quotas, then: collect resume RUN (collect status names it)",
        ),
        sqlite3.SQLITE_CORRUPT: (
            Unusable,
            "COL-0605",
            "{path} is damaged: {why}",
            "Bring back a copy of the whole folder, or move the folder away and collect again.",
        ),
        sqlite3.SQLITE_NOTADB: (
            Misconfigured,
            "COL-0607",
            "{path} is not a database of this platform ({why})",
            "Move it away, and run again.",
        ),
    }
    | dict.fromkeys(
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
        (
            Unusable,
            "COL-0604",
            "{path} was kept locked by another process for more than {patience:g} s",
            "Look for a process that is frozen or copies the file, then: collect resume RUN (collect status names it)",
        ),
    )
    | dict.fromkeys(
        (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
        (Misconfigured, "COL-0606", "{path} cannot be opened for writing ({why})", "Check the rights of its folder."),
    )
)


class Hinting(SQLiteCompiler):
    """Writes down what a statement says of the index it is made for; SQLAlchemy leaves that out for SQLite."""

    def get_from_hint_text(self, table: Any, text: str) -> str:
        return text


class SqliteDatabase:
    """One SQLite file. `write()` is a transaction that holds the write lock from its start.

    Whatever uses it raises Unusable when there is no space, the lock is held for more than `patience` seconds, or the
    file is damaged; Misconfigured when it is none of ours or may not be written.
    """

    outage = 0.0  # there is no server to come back

    def __init__(
        self,
        path: Path,
        tables: MetaData,
        schema: int,
        patience: float = PATIENCE_SECONDS,
        upgrade: Callable[[Connection, int], None] | None = None,
    ) -> None:
        """`upgrade` changes the tables of an older schema, which it is told."""
        self.path, self._patience, self._upgrade = path, patience, upgrade
        _own(path)
        url, sealed = URL.create("sqlite", database=str(path)), {"seals": Seals({}, path.with_name("audit.key"))}
        self._reader = create_engine(url, hide_parameters=True, execution_options=sealed)
        # A pool of one makes writers of this process queue up here instead of polling SQLite's lock.
        one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": patience}
        self._writer = create_engine(url, hide_parameters=True, execution_options=sealed, **one)
        for engine, begin in ((self._reader, _begin_reading), (self._writer, partial(_begin_writing, patience))):
            engine.dialect.statement_compiler = Hinting
            event.listen(engine, "connect", partial(_prepare, patience))
            event.listen(engine, "begin", begin)
        self._open(tables, schema)

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction, committed at the end; when not `durable` it is so together with the next one that is.

        A process that dies loses neither; only a machine that dies loses transactions that were not durable.
        """
        with self._explained(), self._writer.connect() as connection:
            synchronous = f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}"
            connection.connection.driver_connection.execute(synchronous)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._explained(), self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Raise what people can act on, if `error` has such a meaning."""
        if isinstance(error, UnicodeEncodeError):
            raise Misconfigured(
                "what was asked for is not Unicode text", "Type it in UTF-8.", code="COL-0610"
            ) from error
        why = getattr(error, "orig", error)
        number = sqlite3.SQLITE_BUSY if isinstance(error, QueuedTooLong) else getattr(why, "sqlite_errorcode", 0) & 0xFF
        if number in TROUBLES:
            kind, code, what, remedy = TROUBLES[number]
            raise kind(what, remedy, code=code, path=self.path, why=why, patience=self._patience) from error

    def _open(self, tables: MetaData, schema: int) -> None:
        try:
            found = self._schema()
            if found < schema:
                found = self._create(tables, schema)
            if found > schema:
                raise Misconfigured(
                    "{path} was made by a newer version of platform-collect",
                    "Install that one.",
                    code="COL-0609",
                    path=self.path,
                )
            if not tables.tables.keys() <= self._found_tables():
                raise self._foreign()
        except CollectError:
            self.close()
            raise

    def _schema(self) -> int:
        with self.read() as connection:
            return connection.exec_driver_sql("PRAGMA user_version").scalar_one()

    def _found_tables(self) -> set[str]:
        with self.read() as connection:
            return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())

    def _foreign(self) -> Misconfigured:
        what, remedy = "{path} holds another program's tables", "Move it away, and run again."
        return Misconfigured(what, remedy, code="COL-0608", path=self.path)

    def _create(self, tables: MetaData, schema: int) -> int:
        """Make the tables that are missing, and change those of an older schema.

        One process at a time: SQLite does not wait for another one that changes the journal.
        """
        # The folder is locked, not the file: closing any handle of a file drops the locks SQLite holds on it.
        with locked(self.path.parent):
            found = self._schema()
            if found >= schema:
                return found
            present = self._found_tables()
            if present and not (found and present & tables.tables.keys()):
                raise self._foreign()
            if not found:
                self._set_journal()
            with self.write() as connection:
                tables.create_all(connection)
                if found and self._upgrade:
                    self._upgrade(connection, found)
                connection.exec_driver_sql(f"PRAGMA user_version = {schema}")
        return schema

    def _set_journal(self) -> None:
        with self._explained(), self._writer.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL").close()


def _own(path: Path) -> None:
    """Make the file readable by its owner only, whatever the folder allows: definitions may hold credentials."""
    try:
        if path.exists() and not path.is_file():
            raise Misconfigured(
                "{path} is no file", "Move it away, or set COLLECT_HOME to another folder.", code="COL-0611", path=path
            )
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise Misconfigured(
            "{path} cannot be written ({why})",
            "Set COLLECT_HOME to a folder that can.",
            code="COL-0612",
            path=path,
            why=error.strerror,
        ) from error


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(patience: float, connection: Connection) -> None:
    """SQLite itself looks ever more rarely whether the lock is free: who has waited for long is passed by others."""
    driver, give_up = connection.connection.driver_connection, time.monotonic() + patience
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while _is_locked(driver) and time.monotonic() < give_up:
            time.sleep(LOOK_EVERY)
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # which says what is wrong
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")


def _is_locked(driver: sqlite3.Connection) -> bool:
    """False once the lock is ours, and when something else is wrong."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def _prepare(patience: float, connection: Any, _: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {int(patience * 1000)}",
        "wal_autocheckpoint = 4000",
        "cache_size = -16000",
    ):
        connection.execute(f"PRAGMA {pragma}").close()
