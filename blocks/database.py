"""SQLite as a store that several threads and processes share: WAL, one writer at a time, readers never wait."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Dialect, Executable, MetaData, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from collectors.errors import Misconfigured

PATIENCE_SECONDS = 30


class now(FunctionElement[int]):
    """Microseconds since 1970, by the database's clock: the only clock leases are measured with."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **_: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


class Database:
    """One SQLite file. `write()` is a transaction that holds the write lock from its start."""

    def __init__(self, path: Path, tables: MetaData, schema: int) -> None:
        self.path = path
        _own(path)
        url = f"sqlite:///{path}"
        self._reader = create_engine(url, hide_parameters=True)
        # A pool of one makes writers of this process queue up here instead of polling SQLite's lock.
        self._writer = create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0)
        for engine, begin in ((self._reader, "BEGIN"), (self._writer, "BEGIN IMMEDIATE")):
            event.listen(engine, "connect", _prepare)
            event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
        self._open(tables, schema)

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction, committed at the end; when not `durable` it is so together with the next one that is.

        A process that dies loses neither; only a machine that dies loses transactions that were not durable.
        """
        with self._writer.connect() as connection:
            connection.connection.driver_connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()

    def _open(self, tables: MetaData, schema: int) -> None:
        try:
            found = self._schema() or self._create(tables, schema)
        except OperationalError as error:
            raise Misconfigured(f"{self.path} cannot be used ({error.orig})", "Check the folder's rights.") from error
        except DatabaseError as error:
            raise Misconfigured(
                f"{self.path} is not a database of this platform ({error.orig})", "Move it away, and run again."
            ) from None
        if found > schema:
            self.close()
            raise Misconfigured(f"{self.path} was made by a newer version of platform-collect", "Install that one.")

    def _schema(self) -> int:
        with self.read() as connection:
            return connection.exec_driver_sql("PRAGMA user_version").scalar_one()

    def _refuse_foreign_tables(self) -> None:
        with self.read() as connection:
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
                raise Misconfigured(f"{self.path} holds another program's tables", "Move it away, and run again.")

    def _create(self, tables: MetaData, schema: int) -> int:
        """Make the tables, one process at a time: SQLite does not wait for another one that changes the journal."""
        with _alone(self.path.parent):
            if found := self._schema():
                return found
            self._refuse_foreign_tables()
            with self._writer.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL").close()
            with self.write() as connection:
                tables.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {schema}")
        return schema


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # The folder is locked, not the file: closing any handle of a file drops the locks SQLite holds on it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def execute_many(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """One statement for many rows of the same keys, past SQLAlchemy's work for each row: several times as fast."""
    text, names = _compiled(statement, connection.dialect, tuple(rows[0]))
    pick = itemgetter(*names)
    connection.exec_driver_sql(text, [pick(row) for row in rows])


def _own(path: Path) -> None:
    """Make the file readable by its owner only, whatever the folder allows: definitions may hold credentials."""
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be written ({error.strerror})", "Set COLLECT_HOME to a folder that can."
        ) from error


@cache
def _compiled(statement: Executable, dialect: Dialect, keys: tuple[str, ...]) -> tuple[str, list[str]]:
    compiled = statement.compile(dialect=dialect, column_keys=list(keys))
    return str(compiled), compiled.positiontup


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {PATIENCE_SECONDS * 1000}",
        "wal_autocheckpoint = 4000",
        "cache_size = -16000",
    ):
        connection.execute(f"PRAGMA {pragma}").close()
