"""What only a server can do: be away, refuse us, be shared; and that its tables are those of the embedded database."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pymysql
import pytest
from sqlalchemy import create_engine, inspect, text

from blocks.sql import mysql as module
from blocks.sql.catalog import Catalog
from blocks.sql.database import Contended, contending
from blocks.sql.migrations import HEAD, migrate, revision
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.rows import Rows
from blocks.sql.shards import Shards
from blocks.sql.tables import catalog as tables
from collectors.errors import Misconfigured, Rejected, Unreachable
from deployments.dev_servers.kinds import MariaDb

SIMILAR = ["A1", "a1", "n1", "n1 ", "e", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}", "中", "1", "01"]


def columns(url):
    """The tables as people see them: names, whether they may be empty, keys and indexes."""
    engine = create_engine(url)
    found = inspect(engine)
    shape = {
        table: (
            {column["name"]: column["nullable"] for column in found.get_columns(table)},
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"], tuple(index["column_names"])) for index in found.get_indexes(table)),
        )
        for table in tables.tables
    }
    engine.dispose()
    return shape


# ---- tables ------------------------------------------------------------------------------------------------


def test_migrations_end_at_the_tables_the_code_speaks_of(metadata_url, new_metadata_url):
    migrated, created = MysqlDatabase(metadata_url), MysqlDatabase(new_metadata_url())
    assert migrate(migrated) == (None, HEAD)
    with created.write() as connection:
        tables.create_all(connection)
    assert columns(migrated.url) == columns(created.url)
    migrated.close()
    created.close()


def test_migrating_again_or_at_the_same_time_changes_nothing(metadata_url):
    databases = [MysqlDatabase(metadata_url) for _ in range(2)]
    both = [threading.Thread(target=migrate, args=(each,)) for each in databases]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert migrate(databases[0]) == (HEAD, HEAD)
    with databases[1].read() as connection:
        assert revision(connection) == HEAD
    for each in databases:
        each.close()


def test_ids_that_look_alike_are_different_records(mysql, new_batch, new_case):
    rows = Rows(mysql)
    rows.apply(new_batch(*(new_case(id, name=f"case {id}") for id in SIMILAR)))
    found = {row["id"]: row["name"] for chunk in rows.live("default", "cases", "case") for row in chunk}
    assert found == {id: f"case {id}" for id in SIMILAR}
    assert list(found) == sorted(SIMILAR, key=str.encode)


def test_two_tenants_with_the_same_ids_do_not_meet(mysql, new_batch, new_case):
    rows = Rows(mysql)
    for tenant in ("a", "b"):
        rows.apply(new_batch(new_case("1", name=f"of {tenant}"), tenant=tenant))
    assert rows.of_id("a", "cases", "case", "1")["name"] == "of a"
    assert rows.of_id("b", "cases", "case", "1")["name"] == "of b"


def test_large_values_are_kept_as_they_came(mysql, new_batch, new_case):
    rows = Rows(mysql)
    record = new_case("1", name="\N{GRINNING FACE}" * 16_000, metadata={"status": 2**63 - 1}, source_version=2**63 - 1)
    rows.apply(new_batch(record, observation=2**62))
    found = rows.of_id("default", "cases", "case", "1")
    assert (found["name"], found["status"], found["seen"]) == (record.name, 2**63 - 1, 2**62)


# ---- not let in, or not there ------------------------------------------------------------------------------


def elsewhere(url, **changes):
    parts = urlsplit(url)
    user, password = changes.get("user", parts.username), changes.get("password", parts.password)
    host = f"{user}:{password}@127.0.0.1:{changes.get('port', parts.port)}"
    return parts._replace(netloc=host, path=changes.get("path", parts.path)).geturl()


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"password": "wrong-secret"}, Misconfigured, "does not let us in"),
        ({"user": "nobody"}, Misconfigured, "does not let us in"),
        ({"path": "/missing"}, Misconfigured, "does not let us in"),
        ({"port": 1}, Unreachable, "does not answer"),
    ],
)
def test_what_keeps_us_out_is_said_without_the_password(mysql, changes, kind, said, monkeypatch):
    monkeypatch.setattr("blocks.sql.database.PATIENCE_SECONDS", 0.0)
    database = MysqlDatabase(elsewhere(mysql.url, **changes))
    with pytest.raises(kind, match=said) as error:
        Catalog(database).tenants()
    assert "wrong-secret" not in str(error.value)
    assert urlsplit(mysql.url).password not in str(error.value)
    database.close()


def test_a_server_without_our_tables_is_named_with_the_remedy(metadata_url):
    database = MysqlDatabase(metadata_url)
    with pytest.raises(Misconfigured, match="collect storage migrate"):
        Catalog(database).tenants()
    database.close()


def test_data_the_server_refuses_is_refused(mysql, new_batch, new_case):
    with pytest.raises(Rejected), mysql.write() as connection:
        connection.execute(text("INSERT INTO counter VALUES (:name, 1)"), {"name": "n" * 65})


# ---- going away --------------------------------------------------------------------------------------------


def test_a_server_that_is_restarted_costs_time_only(own_server):
    server = own_server(MariaDb)
    database = MysqlDatabase(server.server.url)
    migrate(database)
    shards = Shards(database)
    first = shards.observe()
    server.down(signal.SIGKILL)
    restarting = threading.Thread(target=server.up)
    restarting.start()
    assert shards.observe() > first
    restarting.join()
    database.close()


def test_a_server_that_hangs_is_not_waited_for_for_ever(own_server, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1)
    monkeypatch.setattr("blocks.sql.database.PATIENCE_SECONDS", 0.0)
    server = own_server(MariaDb)
    database = MysqlDatabase(server.server.url)
    migrate(database)
    server.signal(signal.SIGSTOP)
    with pytest.raises(Unreachable):
        Catalog(database).tenants()
    server.signal(signal.SIGCONT)
    database.close()


def test_a_connection_that_was_killed_is_replaced(mysql):
    shards = Shards(mysql)
    first = shards.observe()
    with mysql.read() as connection:
        own = connection.scalar(text("SELECT CONNECTION_ID()"))
        others = connection.scalars(
            text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> :own"), {"own": own}
        ).all()
        for each in others:
            connection.execute(text(f"KILL {each}"))
    assert shards.observe() == first + 1


# ---- several at once ---------------------------------------------------------------------------------------


def test_writers_of_the_same_records_do_not_get_in_each_others_way(mysql, new_batch, new_case):
    ids, rows = [str(number) for number in range(200)], Rows(mysql)

    def write(worker: int) -> None:
        for turn in range(10):
            observation = 10 * turn + worker + 1
            order = ids if worker % 2 else list(reversed(ids))
            cases = (new_case(id, name=f"{observation}") for id in order)
            rows.apply(new_batch(*cases, observation=observation, page=f"{observation}.0", shard_id=f"s{worker}"))

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(4)))
    found = {row["name"] for chunk in rows.live("default", "cases", "case") for row in chunk}
    assert found == {"94"}


def test_a_transaction_that_gave_way_is_made_again(mysql):
    """Two transactions that lock two rows in opposite order: MariaDB undoes one of them."""
    with mysql.write() as connection:
        connection.execute(text("INSERT INTO counter VALUES ('x', 0), ('y', 0)"))
    meeting, tries = threading.Barrier(2), []

    @contending
    def both(first: str, second: str) -> None:
        with mysql.write() as connection:
            tries.append(first)
            connection.execute(text("UPDATE counter SET value = value + 1 WHERE name = :name"), {"name": first})
            if len(tries) <= 2:
                meeting.wait()
            connection.execute(text("UPDATE counter SET value = value + 1 WHERE name = :name"), {"name": second})

    other = threading.Thread(target=both, args=("y", "x"))
    other.start()
    both("x", "y")
    other.join()
    assert len(tries) == 3
    with mysql.read() as connection:
        assert connection.scalars(text("SELECT value FROM counter WHERE name IN ('x', 'y')")).all() == [2, 2]


def test_what_never_gets_its_turn_is_said_in_the_end():
    @contending
    def always() -> None:
        raise Contended("transactions met", code="COL-0620")

    with pytest.raises(Contended):
        always()


def test_drivers_give_ids_as_text(mysql, new_batch, new_case):
    Rows(mysql).apply(new_batch(new_case("é1")))
    parts = urlsplit(mysql.url)
    to = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    connection = pymysql.connect(**to, database=parts.path[1:])
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM test_case WHERE tenant = 'default' AND collection = 'cases' AND NOT deleted")
        assert cursor.fetchall() == (("é1",),)
