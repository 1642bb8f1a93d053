"""What only a server can do: be away, refuse us, be shared."""

import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pymysql
import pytest
from sqlalchemy import text

from blocks.sql import applying
from blocks.sql.catalog import Catalog
from blocks.sql.database import Contended, contending
from blocks.sql.migrations import migrate
from blocks.sql.mysql import TROUBLES, MysqlDatabase
from blocks.sql.rows import Rows
from blocks.sql.shards import Shards
from collectors.chinese import TEXTS
from collectors.errors import Misconfigured, Rejected, Unreachable
from deployments.dev_servers.kinds import MariaDb
from tests.freezing import freeze

SIMILAR = ["A1", "a1", "n1", "n1 ", "e", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}", "中", "1", "01"]


# ---- values ------------------------------------------------------------------------------------------------


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
def test_what_keeps_us_out_is_said_without_the_password(mysql, changes, kind, said):
    database = MysqlDatabase(elsewhere(mysql.url, **changes), outage=0.0)
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


def test_what_a_server_says_is_said_in_chinese_too():
    assert {text for _, _, *texts in TROUBLES.values() for text in texts} <= TEXTS.keys()


# ---- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Makes authorities that sign themselves: key and certificate of 127.0.0.1."""

    def made(name):
        key, certificate = (tmp_path_factory.mktemp(name) / each for each in ("key.pem", "certificate.pem"))
        options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        command = ["openssl", "req", *options.split(), "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        return key, certificate

    return made


def ciphers(url):
    database = MysqlDatabase(url)
    try:
        with database.read() as connection:
            return connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1]
    finally:
        database.close()


def test_a_server_is_spoken_to_through_tls_when_its_authority_is_named(own_server, authority):
    (key, certificate), (_, other) = authority("ours"), authority("theirs")

    class Secured(MariaDb):
        def command(self):
            return [*super().command(), f"--ssl-key={key}", f"--ssl-cert={certificate}"]

    url = own_server(Secured).server.url
    assert ciphers(f"{url}?ssl_ca={certificate}")
    with pytest.raises(Misconfigured, match="certificate verify failed") as error:
        ciphers(f"{url}?ssl_ca={other}")
    assert error.value.code == "COL-0627"


def test_a_server_without_tls_or_a_file_that_is_not_there_is_said(mysql, authority):
    _, certificate = authority("ours")
    for path, said in ((certificate, "SSL is required"), ("/nowhere/at-all.pem", "No such file")):
        with pytest.raises(Misconfigured, match=said) as error:
            ciphers(f"{mysql.url}?ssl_ca={path}")
        assert error.value.code == "COL-0627"


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


def test_a_server_that_hangs_is_not_waited_for_for_ever(own_server):
    server = own_server(MariaDb)
    database = MysqlDatabase(server.server.url, outage=0.0, answer=1)
    migrate(database)
    freeze(server.pid)
    with pytest.raises(Unreachable):
        Catalog(database).tenants()
    server.signal(signal.SIGCONT)
    database.close()


def test_a_connection_that_was_killed_is_replaced(mysql):
    shards = Shards(mysql)
    first, another = shards.observe(), MysqlDatabase(mysql.url)
    Catalog(mysql).tenants()
    with another.read() as connection:
        others = "FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        for each in connection.scalars(text(f"SELECT id {others}")).all():
            connection.execute(text(f"KILL {each}"))
    another.close()
    assert shards.observe() == first + 1
    assert Catalog(mysql).tenants() == []
    mysql.close()  # the tests that follow find none of the killed ones


# ---- several at once ---------------------------------------------------------------------------------------


def deadlocks(database):
    with database.read() as connection:
        return int(connection.execute(text("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")).one()[1])


def test_writers_of_the_same_records_do_not_get_in_each_others_way(mysql, new_batch, new_case):
    ids, rows, before = [str(number) for number in range(200)], Rows(mysql), deadlocks(mysql)

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
    assert deadlocks(mysql) == before


def test_of_two_who_meet_a_record_nobody_knows_the_newer_one_wins(mysql, new_batch, new_case, monkeypatch):
    """The older one has looked, and found nothing, when the newer one is written."""
    rows, write, meanwhile = Rows(mysql), applying._write, iter([True])

    def written(*arguments):
        if next(meanwhile, False):
            rows.apply(new_batch(new_case("1", name="newer"), observation=2, page="1.0"))
        write(*arguments)

    monkeypatch.setattr(applying, "_write", written)
    rows.apply(new_batch(new_case("1", name="older"), observation=1))
    assert rows.of_id("default", "cases", "case", "1")["name"] == "newer"


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


def test_who_is_frozen_in_a_transaction_keeps_others_out_for_a_while_only(mysql):
    frozen, awake = (MysqlDatabase(mysql.url, outage=30.0, answer=1) for _ in range(2))
    first = Shards(awake).observe()
    with pytest.raises(Unreachable), frozen.write() as connection:
        connection.execute(text("UPDATE counter SET value = value + 1000"))
        assert Shards(awake).observe() == first + 1
        connection.execute(text("UPDATE counter SET value = value + 1000"))
    assert Shards(awake).observe() == first + 2
    frozen.close()
    awake.close()


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
