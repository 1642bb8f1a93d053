"""The same tests on both databases: a SQLite file, and a MariaDB server."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from blocks.sql.migrations import migrate
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import catalog

PATIENCE = 30.0
# For processes of their own: opens what `address` gives as their first argument.
OPEN = """
import sys
from pathlib import Path
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog as tables
address = sys.argv[1]
database = MysqlDatabase(address) if "://" in address else SqliteDatabase(Path(address), tables, SCHEMA)
"""


@pytest.fixture(scope="session")
def migrated(mariadb: Any, new_metadata_url: Callable[[], str]) -> Iterator[MysqlDatabase]:
    database = MysqlDatabase(new_metadata_url())
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def mysql(migrated: MysqlDatabase) -> MysqlDatabase:
    """Empty tables in MariaDB."""
    with migrated.write() as connection:
        for table in catalog.sorted_tables:
            connection.execute(table.delete())
    return migrated


@pytest.fixture(params=["sqlite", "mysql"])
def database(request: pytest.FixtureRequest) -> SqliteDatabase | MysqlDatabase:
    if request.param == "mysql":
        return request.getfixturevalue("mysql")
    return request.getfixturevalue("open_database")()


@pytest.fixture
def address(database: SqliteDatabase | MysqlDatabase) -> str:
    """What another process opens the same database by; see OPEN."""
    return str(database.path) if isinstance(database, SqliteDatabase) else database.url


@pytest.fixture
def opens_database() -> str:
    return OPEN


@pytest.fixture
def dump(dump: Callable[..., Any]) -> Callable[..., dict[str, list[tuple[Any, ...]]]]:
    def dumped(database: SqliteDatabase | MysqlDatabase) -> dict[str, list[tuple[Any, ...]]]:
        if isinstance(database, SqliteDatabase):
            return dump(database)
        with database.read() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(table.select())), key=repr)
                for table in catalog.sorted_tables
            }

    return dumped


@pytest.fixture
def alter() -> Callable[..., int]:
    """Changes a database behind the back of the product."""

    def altered(database: SqliteDatabase | MysqlDatabase, statement: str, *values: Any) -> int:
        if isinstance(database, SqliteDatabase):
            with closing(sqlite3.connect(database.path, timeout=PATIENCE)) as connection, connection:
                return connection.execute(statement, values).rowcount
        with database.write() as connection:
            return connection.exec_driver_sql(statement.replace("?", "%s"), values).rowcount

    return altered
