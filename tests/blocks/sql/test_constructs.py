"""What the two databases say differently means the same in both."""

import time

import pytest
from sqlalchemy import bindparam, insert, select, update

from blocks.sql import constructs
from blocks.sql.applying import _upsert
from blocks.sql.constructs import AMONG, Upsert, execute_among, execute_many, greatest, now
from blocks.sql.tables import batch, counter, test_case
from collectors.models import version

HOSTILE = [
    "it's", 'say "x"', "back\\slash", "100 %s %(name)s %%", "a\nb\tc\r", "-- not; a # comment /*", "\N{GRINNING FACE}",
    "' OR 1=1 --", "中文\N{COMBINING ACUTE ACCENT}", ":bound ?", "\x00", " ", "",
]  # fmt: skip


def row(id="1", seen=1, name="A", **values):
    """A row of a case, in the order of the columns."""
    fields = {
        "tenant": "t", "collection": "c", "id": id, "parent_id": f"in {name}", "name": name, "path": f"/{name}",
        "status": seen, "create_time": seen, "update_time": seen, "version": version(0, seen),
        "content_hash": f"{seen:064}", "seen": seen, "deleted": seen % 2 == 0, "first_batch": name, "last_batch": name,
        "tombstone": None, "missing": None,
    }  # fmt: skip
    return tuple((fields | values).values())


@pytest.fixture
def cases(database):
    def stored():
        with database.read() as connection:
            return [tuple(each) for each in connection.execute(select(test_case).order_by(test_case.c.id))]

    return stored


@pytest.fixture
def put(database):
    def written(*rows):
        with database.write() as connection:
            execute_many(connection, _upsert(test_case), rows)

    return written


# ---- upserts -----------------------------------------------------------------------------------------------


def test_an_older_version_changes_no_column(put, cases):
    put(row(seen=6, name="B"))
    put(row(seen=5, name="A"))
    assert cases() == [row(seen=6, name="B")]


@pytest.mark.parametrize("seen", [6, 7])
def test_a_version_that_is_not_older_changes_every_column_but_when_the_record_came(put, cases, seen):
    put(row(seen=6, name="A"))
    put(row(seen=seen, name="B"))
    assert cases() == [row(seen=seen, name="B", create_time=6, first_batch="A")]


def test_in_one_statement_each_row_is_judged_by_its_own_version(put, cases):
    put(row("1", seen=5), row("2", seen=9), row("3", seen=5))
    put(row("1", seen=7, name="B"), row("2", seen=7, name="B"), row("4", seen=7, name="B"))
    assert cases() == [
        row("1", seen=7, name="B", create_time=5, first_batch="A"), row("2", seen=9), row("3", seen=5),
        row("4", seen=7, name="B"),
    ]  # fmt: skip


def test_an_upsert_without_a_guard_changes_what_is_there(database):
    statement = Upsert(counter, [(counter.c.value, counter.c.value + 1)])
    with database.write() as connection:
        for _ in range(3):
            connection.execute(statement.values(name="n", value=10))
        assert connection.scalar(select(counter.c.value)) == 12


# ---- many values -------------------------------------------------------------------------------------------


def test_whatever_a_text_holds_is_stored_as_it_is(database, put, cases):
    put(*(row(f"{number:02}", name=text, path=None) for number, text in enumerate(HOSTILE)))
    assert [found[4] for found in cases()] == HOSTILE
    with database.write() as connection:
        execute_many(connection, insert(counter), [(text, number) for number, text in enumerate(HOSTILE)])
        statement = select(counter.c.name, counter.c.value).where(counter.c.name.in_(AMONG))
        found = execute_among(connection, statement, {}, HOSTILE).all()
    assert dict(map(tuple, found)) == {text: number for number, text in enumerate(HOSTILE)}


def test_numbers_and_truth_are_not_mixed_up_with_texts_that_look_alike(put, cases):
    rows = [row("0", seen=0, name="0"), row("1", seen=1, name="1"), row("2", seen=2**63 - 1, name="True")]
    put(*rows)
    assert cases() == rows
    assert [type(value) for value in cases()[0]] == [type(value) for value in rows[0]]


def test_more_than_fits_into_a_statement_is_stored_in_several(monkeypatch, put, cases):
    monkeypatch.setattr(constructs, "LARGEST_STATEMENT", 1_000)
    rows = [row(f"{number:03}", seen=number) for number in range(100)]
    put(*rows)
    assert cases() == rows


def test_values_beside_the_many_are_bound_where_they_belong(database, put, cases):
    put(*(row(str(number)) for number in range(3)))
    c = test_case.c
    statement = (
        update(test_case)
        .where(c.tenant == bindparam("of"), c.id.in_(AMONG), c.seen == 1)
        .values(name=bindparam("new"), seen=greatest(c.seen, bindparam("at")))
    )
    with database.write() as connection:
        execute_among(connection, statement, {"of": "t", "new": "100 %", "at": 9}, ["0", "2"])
    assert [(found[2], found[4], found[11]) for found in cases()] == [
        ("0", "100 %", 9),
        ("1", "A", 1),
        ("2", "100 %", 9),
    ]


# ---- clock, and the larger of two --------------------------------------------------------------------------


def test_the_clock_is_the_time_in_microseconds_and_goes_on_within_a_transaction(database, until):
    with database.read() as connection:
        first = connection.scalar(select(now()))
        assert abs(first / 1_000_000 - time.time()) < 5
        assert until(lambda: connection.scalar(select(now())) > first)


def test_the_clock_is_the_same_in_every_session_whatever_its_time_zone(mysql):
    with mysql.read() as connection:
        first = connection.scalar(select(now()))
        connection.exec_driver_sql("SET SESSION time_zone = '+11:00'")
        assert abs(connection.scalar(select(now())) - first) < 5_000_000
        connection.exec_driver_sql("SET SESSION time_zone = '+00:00'")


@pytest.mark.parametrize(("stored", "new", "larger"), [(1, 2, 2), (2, 1, 2), (2**62, 2**62 + 1, 2**62 + 1)])
def test_the_larger_of_two_numbers(database, stored, new, larger):
    with database.write() as connection:
        connection.execute(insert(counter).values(name="n", value=stored))
        assert connection.scalar(select(greatest(counter.c.value, new))) == larger


def test_versions_are_compared_as_text_to_the_last_digit(put, cases):
    put(row(version=version(2**53, 1), name="A"))
    put(row(version=version(2**53 + 1, 1), name="B"))
    put(row(version=version(2**53, 9), name="C"))
    assert [found[4] for found in cases()] == ["B"]


def test_the_observation_of_a_batch_may_be_as_large_as_64_bits(database):
    with database.write() as connection:
        values = dict.fromkeys(("new", "changed", "unchanged", "deleted", "superseded", "size", "published_at"), 0)
        texts = dict.fromkeys(("batch_id", "tenant", "collection", "run_id", "shard_id", "stage"), "x")
        fields = values | texts | {"observation": 2**63 - 1, "record_ids": "中" * 5_000_000}
        connection.execute(insert(batch).values(fields))
        found = connection.execute(select(batch.c.observation, batch.c.record_ids)).one()
    assert tuple(found) == (2**63 - 1, "中" * 5_000_000)
