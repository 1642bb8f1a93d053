"""One SQLite file serves threads and processes at once, and says plainly when it cannot."""

import os
import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError

from blocks.sql.constructs import now
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog, counter, documents
from collectors.errors import Misconfigured, Unusable

CREATE = """
import sys
from pathlib import Path
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.shards import Shards
from blocks.sql.tables import SCHEMA, catalog
print("ready", flush=True)
input()
database = SqliteDatabase(Path(sys.argv[1]), catalog, SCHEMA)
print(Shards(database).observe())
database.close()
"""
HOLD = """
import sys
from pathlib import Path
from sqlalchemy import insert
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog, counter
database = SqliteDatabase(Path(sys.argv[1]), catalog, SCHEMA)
with database.write() as connection:
    connection.execute(insert(counter).values(name="held", value=1))
    print("holding", flush=True)
    input()
print("committed", flush=True)
"""


@pytest.fixture
def database(open_database):
    return open_database()


def values(database):
    with database.read() as connection:
        return dict(tuple(row) for row in connection.execute(select(counter.c.name, counter.c.value)))


def put(database, name, value=1):
    with database.write() as connection:
        connection.execute(insert(counter).values(name=name, value=value))


# ---- what cannot be used -----------------------------------------------------------------------------------


def refused(path, schema=SCHEMA):
    with pytest.raises(Misconfigured) as error:
        SqliteDatabase(path, catalog, schema)
    assert str(path) in error.value.what
    assert error.value.remedy
    return error.value


@pytest.mark.parametrize("content", [b"name: cases\n" * 500, os.urandom(5000)], ids=["text", "noise"])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "collect.db"
    path.write_bytes(content)
    assert "Move it away" in refused(path).remedy
    assert path.read_bytes() == content


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path, open_database, dump):
    newer = open_database(schema=SCHEMA + 1)
    before = dump(newer)
    newer.close()
    assert "newer" in refused(newer.path).what
    assert dump(newer) == before


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "collect.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE run (theirs TEXT)")
    refused(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("run",)]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "COLLECT_HOME" in refused(tmp_path / "file" / "collect.db").remedy


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "COLLECT_HOME" in refused(tmp_path / "gone" / "collect.db").remedy


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "collect.db").mkdir()
    refused(tmp_path / "collect.db")


def test_a_folder_in_the_place_of_the_file_keeps_its_rights(tmp_path):
    folder = tmp_path / "collect.db"
    folder.mkdir(mode=0o755)
    assert refused(folder).code == "COL-0611"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_database_of_another_program_with_the_same_number_is_refused(tmp_path):
    path = tmp_path / "collect.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE run (theirs TEXT)")
        other.execute(f"PRAGMA user_version = {SCHEMA}")
    assert refused(path).code == "COL-0608"


def test_the_other_database_of_this_platform_is_refused(open_database, tmp_path):
    open_database(tmp_path / "documents.db", documents).close()
    assert refused(tmp_path / "documents.db").code == "COL-0608"


@pytest.mark.parametrize("kept", [100, 3_000, 30_000])
def test_half_a_database_is_refused_and_left_as_it_is(tmp_path, open_database, kept):
    whole = open_database()
    whole.close()
    content = whole.path.read_bytes()[:kept]
    whole.path.write_bytes(content)
    with pytest.raises((Misconfigured, Unusable)) as error:
        open_database(whole.path)
    assert error.value.code in ("COL-0605", "COL-0607")
    assert error.value.remedy
    assert whole.path.read_bytes() == content


def test_a_database_that_is_damaged_later_is_named_when_it_is_read(database):
    with database.write() as connection:
        connection.execute(insert(counter), [{"name": f"{n:050}", "value": n} for n in range(3_000)])
    database.close()
    with database.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(200_000))
    with pytest.raises(Unusable) as error:
        values(database)
    assert error.value.code == "COL-0605"


@pytest.mark.parametrize("name", ["a?b#c", "%41&mode=ro", "支付 x", "a\udcffb"])
def test_a_folder_may_have_any_name(tmp_path, open_database, name):
    (tmp_path / name).mkdir()
    put(open_database(tmp_path / name / "collect.db"), "a")
    assert sorted(each.name for each in (tmp_path / name).iterdir()) == [
        "collect.db",
        "collect.db-shm",
        "collect.db-wal",
    ]


# ---- what cannot be used any more --------------------------------------------------------------------------


def test_a_full_disk_is_named_undoes_the_transaction_and_is_no_trouble_when_there_is_space_again(database):
    put(database, "before")
    with database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(Unusable) as error, database.write() as connection:
        connection.execute(insert(counter), [{"name": f"{n:0100}", "value": n} for n in range(1_000)])
    assert error.value.code == "COL-0602"
    assert "collect resume" in error.value.remedy
    assert values(database) == {"before": 1}
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    put(database, "after")
    assert values(database) == {"before": 1, "after": 1}


WRITE = """
import resource, sys
from pathlib import Path
from sqlalchemy import insert
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import SCHEMA, catalog, counter
database = SqliteDatabase(Path(sys.argv[1]), catalog, SCHEMA)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    with database.write() as connection:
        connection.execute(insert(counter), [{"name": f"{n:0100}", "value": n} for n in range(10_000)])
except Exception as error:
    print(type(error).__name__, error.code)
"""


def test_a_disk_that_refuses_to_write_is_named_and_the_transaction_is_undone(database, processes):
    put(database, "before")
    out, err = processes.start(WRITE, database.path).communicate(timeout=60)
    assert (out, err) == ("Unusable COL-0603\n", "")
    assert values(database) == {"before": 1}


def test_a_lock_another_process_holds_for_too_long_is_named(tmp_path, database, processes):
    hasty = SqliteDatabase(database.path, catalog, SCHEMA, patience=0.05)
    writer = processes.start(HOLD, database.path)
    assert writer.stdout.readline() == "holding\n"
    with pytest.raises(Unusable) as error:
        put(hasty, "mine")
    assert error.value.code == "COL-0604"
    assert "0.05 s" in error.value.what
    assert values(hasty) == {}
    writer.stdin.write("\n")
    assert writer.stdout.readline() == "committed\n"
    put(hasty, "mine")
    assert values(hasty) == {"held": 1, "mine": 1}
    hasty.close()


def test_a_lock_this_process_holds_for_too_long_is_named(database):
    hasty = SqliteDatabase(database.path, catalog, SCHEMA, patience=0.05)
    with hasty.write(), pytest.raises(Unusable) as error:
        put(hasty, "mine")
    assert error.value.code == "COL-0604"
    hasty.close()


def test_a_text_that_is_not_unicode_is_named(database):
    with pytest.raises(Misconfigured) as error, database.read() as connection:
        connection.execute(select(counter).where(counter.c.name == "\udcff"))
    assert error.value.code == "COL-0610"


def test_an_error_of_ours_stays_what_it_is(database):
    with pytest.raises(OperationalError), database.read() as connection:
        connection.exec_driver_sql("SELECT nothing")


# ---- files -------------------------------------------------------------------------------------------------


def test_files_are_readable_by_their_owner_only(tmp_path, open_database):
    mask = os.umask(0)
    try:
        put(open_database(), "a")
        files = sorted(tmp_path.glob("collect.db*"))
        assert [file.name for file in files] == ["collect.db", "collect.db-shm", "collect.db-wal"]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    finally:
        os.umask(mask)


def test_what_was_written_is_there_when_the_file_is_opened_again(open_database):
    first = open_database()
    put(first, "a", 7)
    first.close()
    assert values(open_database()) == {"a": 7}


# ---- several at once ---------------------------------------------------------------------------------------


def test_processes_that_create_the_same_database_at_once_share_it(tmp_path, processes):
    for attempt in range(2):
        path = tmp_path / f"{attempt}.db"
        found = processes.at_once(CREATE, 4, path)
        assert sorted(map(int, found)) == [1, 2, 3, 4]


def test_a_database_can_be_opened_and_read_while_another_process_writes(database, processes, open_database):
    writer = processes.start(HOLD, database.path)
    assert writer.stdout.readline() == "holding\n"
    assert values(open_database(database.path)) == {}


def test_threads_that_create_the_same_database_at_once_share_it(tmp_path):
    failed = []
    barrier = threading.Barrier(6)

    def create(path):
        barrier.wait()
        try:
            SqliteDatabase(path, catalog, SCHEMA).close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown below
            failed.append(error)

    for attempt in range(10):
        threads = [threading.Thread(target=create, args=(tmp_path / f"{attempt}.db",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(database, processes):
    writer = processes.start(HOLD, database.path)
    assert writer.stdout.readline() == "holding\n"
    assert values(database) == {}
    writer.stdin.write("\n")
    assert writer.stdout.readline() == "committed\n"
    assert values(database) == {"held": 1}


def test_a_writer_waits_for_the_writer_of_another_process(database, processes):
    writer = processes.start(HOLD, database.path)
    assert writer.stdout.readline() == "holding\n"
    second = threading.Thread(target=put, args=(database, "second"))
    second.start()
    second.join(timeout=0.3)
    assert second.is_alive()
    writer.stdin.write("\n")
    second.join(timeout=30)
    assert values(database) == {"held": 1, "second": 1}


def test_what_one_reader_sees_does_not_change_while_it_reads(database):
    put(database, "before")
    with database.read() as connection:
        names = select(counter.c.name)
        assert connection.scalars(names).all() == ["before"]
        put(database, "meanwhile")
        assert connection.scalars(names).all() == ["before"]
    assert values(database) == {"before": 1, "meanwhile": 1}


def test_threads_write_one_after_another_and_lose_nothing(database):
    threads = [threading.Thread(target=lambda n=n: [put(database, f"{n}/{i}") for i in range(20)]) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values(database)) == 100


@pytest.mark.parametrize("durable", [True, False])
def test_a_transaction_that_fails_leaves_nothing_and_lets_the_next_one_write(database, durable):
    with pytest.raises(ZeroDivisionError), database.write(durable) as connection:
        connection.execute(insert(counter).values(name="a", value=1))
        raise ZeroDivisionError
    assert values(database) == {}
    put(database, "b")
    assert values(database) == {"b": 1}


def test_what_a_killed_process_had_not_committed_is_gone_and_the_lock_is_free(database, processes):
    writer = processes.start(HOLD, database.path)
    assert writer.stdout.readline() == "holding\n"
    writer.kill()
    writer.wait()
    put(database, "next")
    assert values(database) == {"next": 1}


def test_the_clock_is_the_time_in_microseconds(database):
    with database.read() as connection, closing(sqlite3.connect(":memory:")) as other:
        (seconds,) = other.execute("SELECT unixepoch('now')").fetchone()
        assert abs(connection.scalar(select(now())) / 1_000_000 - seconds) < 5
