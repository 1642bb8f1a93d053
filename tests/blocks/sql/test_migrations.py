"""However the tables came to be as they are, they are the same; and the code of yesterday still works with them."""

import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from sqlalchemy import Boolean, Integer, LargeBinary, event, text

from blocks.settings import Settings
from blocks.sql.constructs import Upsert, execute_many, fresh
from blocks.sql.migrations import HEAD, LOCK, migrate, revision, upgrade
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog
from blocks.stores import open_storage
from collectors.errors import Refused, Unreachable
from collectors.testing.documents_contract import KEY, document
from tests.blocks.sql.previous_tables import tables as previous

OPEN_HOME = """
import sys
from pathlib import Path
from blocks.settings import Settings
from blocks.stores import open_storage
print("ready", flush=True)
input()
with open_storage(Settings(Path(sys.argv[1]), None)) as storage:
    print(storage.catalog.collected("default"), "alembic" in sys.modules)
"""


@pytest.fixture
def new_mysql(new_metadata_url):
    """Opens databases without tables."""
    opened = []

    def opening(url=None):
        opened.append(MysqlDatabase(url or new_metadata_url()))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


def shape(database):
    """All there is to say of our tables, as the database itself says it."""
    with database.read() as connection:
        if isinstance(database, SqliteDatabase):
            found = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            return {name: re.sub(r"\s+", "", sql) for name, sql in found if name != "alembic_version"}
        return {
            name: by_line(connection.execute(text(f"SHOW CREATE TABLE {name}")).one()[1]) for name in catalog.tables
        }


def by_line(created):
    """The indexes of a table have no order of their own."""
    lines = [line.strip(" ,") for line in created.splitlines()]
    return [each for each in lines if not each.startswith("KEY")], {each for each in lines if each.startswith("KEY")}


# ---- the same tables ---------------------------------------------------------------------------------------


def test_revisions_end_at_the_tables_the_code_speaks_of_in_mysql(new_mysql):
    migrated, created = new_mysql(), new_mysql()
    assert migrate(migrated) == (None, HEAD)
    with created.write() as connection:
        catalog.create_all(connection)
    assert shape(migrated) == shape(created)


def test_revisions_end_at_the_tables_the_code_speaks_of_in_sqlite(open_database, tmp_path):
    migrated = open_database(tmp_path / "migrated.db")
    with migrated.write() as connection:
        catalog.drop_all(connection)
        upgrade(connection)
    assert shape(migrated) == shape(open_database(tmp_path / "created.db"))


def test_text_compares_byte_by_byte_and_without_padding(new_mysql):
    database = new_mysql()
    migrate(database)
    assert all("COLLATE=utf8mb4_nopad_bin" in lines[-1] for lines, _ in shape(database).values())


# ---- migrating ---------------------------------------------------------------------------------------------


def test_migrating_again_or_at_the_same_time_changes_nothing(new_mysql):
    databases = [new_mysql()]
    databases.append(new_mysql(databases[0].url))
    both = [threading.Thread(target=migrate, args=(each,)) for each in databases]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert migrate(databases[0]) == (HEAD, HEAD)
    with databases[1].read() as connection:
        assert revision(connection) == HEAD


def test_a_migration_that_takes_another_process_too_long_is_named(new_mysql, monkeypatch):
    monkeypatch.setattr("blocks.sql.migrations.SECONDS_TO_WAIT", 0)
    database = new_mysql()
    with database.write() as connection:
        connection.execute(text(f"SELECT GET_LOCK('{LOCK}', 0)"))
        with pytest.raises(Refused, match="another process"):
            migrate(database)
        connection.execute(text(f"SELECT RELEASE_LOCK('{LOCK}')"))
    assert migrate(database) == (None, HEAD)


def test_a_change_has_as_long_as_large_tables_take(new_mysql, monkeypatch):
    """Made small here: what takes longer than that is given up, and nothing sooner."""
    monkeypatch.setattr("blocks.sql.migrations.SECONDS_OF_A_CHANGE", 1)
    monkeypatch.setattr("blocks.sql.migrations.SECONDS_TO_WAIT", 3)
    database = new_mysql()
    with database.write() as connection:
        connection.execute(text(f"SELECT GET_LOCK('{LOCK}', 0)"))
        with pytest.raises(Unreachable):
            migrate(database)
        connection.execute(text(f"SELECT RELEASE_LOCK('{LOCK}')"))


class Interrupted(Exception):
    pass


def test_a_migration_that_is_interrupted_again_and_again_comes_to_its_end(new_mysql, monkeypatch):
    """MySQL keeps what was changed before an interruption; each try here gets one change further."""
    interrupted, whole = new_mysql(), new_mysql()
    migrate(whole)
    changes = []

    def stop_at_the_second(_, __, statement, *___):
        if statement.lstrip().startswith(("CREATE", "ALTER")):
            changes.append(statement)
            if len(changes) == 2:
                changes.clear()
                raise Interrupted

    def try_once():
        changes.clear()
        with interrupted.write() as connection:
            event.listen(connection, "before_cursor_execute", stop_at_the_second)
            upgrade(connection)

    tries = 1
    while True:
        try:
            try_once()
            break
        except Interrupted:
            tries += 1
    assert tries > len(catalog.tables)
    assert shape(interrupted) == shape(whole)
    assert migrate(interrupted) == (HEAD, HEAD)


def test_revisions_say_nothing_that_only_mariadb_understands(new_mysql):
    """MySQL 8 knows IF NOT EXISTS of tables, but neither of columns nor of indexes."""
    said = []
    with new_mysql().write() as connection:
        event.listen(connection, "before_cursor_execute", lambda *what: said.append(what[2].strip()))
        upgrade(connection)
    changes = [each for each in said if each.startswith(("ALTER", "CREATE INDEX"))]
    assert changes
    assert not [each for each in changes if "IF NOT EXISTS" in each]


# ---- a home of an older version ----------------------------------------------------------------------------


def older_home(home, schema):
    """What an older version left behind, with one run in it."""
    home.mkdir()
    with closing(sqlite3.connect(home / "collect.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for table in previous.sorted_tables:
            names = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
            keys = ", ".join(column.name for column in table.primary_key)
            connection.execute(f"CREATE TABLE {table.name} ({names}, PRIMARY KEY ({keys}))")
        connection.execute("INSERT INTO run (run_id, tenant, collection) VALUES ('r1', 'default', 'kept')")
        connection.execute(f"PRAGMA user_version = {schema}")


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_a_home_of_an_older_version_is_brought_up_to_date_when_it_is_opened(tmp_path, schema):
    older_home(tmp_path / "home", schema)
    settings = Settings(tmp_path / "home", None)
    for _ in range(2):
        with open_storage(settings) as storage:
            assert storage.catalog.collected("default") == ["kept"]
            assert storage.catalog.delays("r1") == {}
    with closing(sqlite3.connect(settings.database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


OLD_DOCUMENTS = """
    CREATE TABLE document (tenant, collection, kind, id, version, deleted, content_hash, path, body,
        PRIMARY KEY (tenant, collection, kind, id));
    CREATE TABLE history (tenant, collection, kind, id, version, since, until, body);
    CREATE TABLE snapshot (tenant, collection, run_id, taken_at, body);
    PRAGMA user_version = 5
"""


def test_documents_of_an_older_version_are_changed_and_looked_back_at(tmp_path):
    settings = Settings(tmp_path / "home", None)
    (tmp_path / "home").mkdir()
    with closing(sqlite3.connect(settings.documents)) as connection:
        connection.executescript(OLD_DOCUMENTS)
    with open_storage(settings) as storage:
        for number in (1, 2):
            storage.documents.write([document(version=f"{number:036}", content_hash=f"{number:064}")])
        assert [each.version[-1] for each in storage.past.versions(*KEY, ["1"])["1"]] == ["1", "2"]


def test_processes_that_open_an_older_home_at_once_share_it(tmp_path, processes):
    older_home(tmp_path / "home", SCHEMA - 1)
    found = processes.at_once(OPEN_HOME, 4, tmp_path / "home")
    assert [each.split("]")[0] for each in found] == ["['kept'"] * 4


def test_a_new_home_is_made_without_the_machinery_of_migrations(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", OPEN_HOME, tmp_path / "home"], input="go\n", capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "ready\n[] False\n", ended.stderr


# ---- the code of the revision before -----------------------------------------------------------------------


def values_of(table, number):
    """A row of values that fit; `number` makes them differ, but for the key."""
    for column in table.columns:
        if column.primary_key:
            yield 1 if isinstance(column.type, Integer) else "key"
        elif isinstance(column.type, Boolean):
            yield number % 2 == 1
        elif isinstance(column.type, Integer):
            yield number
        else:
            yield b"bytes" if isinstance(column.type, LargeBinary) else f"text {number}"


@pytest.mark.parametrize("name", previous.tables)
def test_the_code_of_the_revision_before_writes_changes_and_reads_every_table(database, name):
    table = previous.tables[name]
    changes = [(column, fresh(column)) for column in table.columns if not column.primary_key]
    for number in (1, 2):
        row = tuple(values_of(table, number))
        with database.write() as connection:
            if any(isinstance(column.type, LargeBinary) for column in table.columns):  # its rows are never changed
                connection.execute(table.delete())
                connection.execute(table.insert().values(row))
            else:
                execute_many(connection, Upsert(table, changes), [row])
        with database.read() as connection:
            assert [tuple(each) for each in connection.execute(table.select())] == [row]
