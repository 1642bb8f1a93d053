"""However many records there are: each question that looks at all of them is asked by parts."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from sqlalchemy import event

from blocks.sql.constructs import execute_many
from blocks.sql.quality import Quality
from blocks.sql.rows import Rows
from blocks.sql.tables import test_case, test_directory
from blocks.sql.windows import WINDOW
from collectors.quality import Finding

KEY, LATER = ("default", "cases"), 2
TIMES = {"create_time": 1, "update_time": 1, "version": "0" * 36, "content_hash": "0" * 64, "seen": 1}
REST = TIMES | {"deleted": False, "first_batch": "", "last_batch": "b"}


def fill(database, count: int, **values: Callable[[int], str]) -> None:
    """One directory, and cases below it; `values` say what of them is otherwise."""
    of = {"tenant": KEY[0], "collection": KEY[1]} | REST
    usual = {
        "id": lambda n: f"{n:06}",
        "parent_id": lambda n: "1",
        "name": lambda n: f"c{n}",
        "path": lambda n: f"/d/c{n}",
    }
    rows = [of | {name: value(number) for name, value in (usual | values).items()} for number in range(count)]
    with database.write() as connection:
        connection.execute(test_directory.insert(), of | {"id": "1", "name": "d", "path": "/d", "level": 0})
        execute_many(connection, test_case.insert(), [tuple(row.get(c.key) for c in test_case.c) for row in rows])


@pytest.fixture
def rows_read(mysql) -> Iterator[list[int]]:
    """How many rows the server has read for each question."""
    told: list[int] = []

    def note(connection, *_) -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            told.append(sum(int(value) for _, value in cursor.fetchall()))

    event.listen(mysql._reader, "after_cursor_execute", note)
    yield told
    event.remove(mysql._reader, "after_cursor_execute", note)


ALL = {
    "what is wrong": lambda database: Quality(database).findings(*KEY),
    "misplaced": lambda database: list(Rows(database).misplaced_cases(*KEY)),
    "counted": lambda database: Rows(database).cases_by_directory(*KEY),
    "changed": lambda database: list(Rows(database).changed_since(*KEY, "case", LATER)),
    "live": lambda database: [len(chunk) for chunk in Rows(database).live(*KEY, "case")],
}


def test_no_question_reads_more_than_a_few_windows(mysql, rows_read):
    fill(mysql, 5 * WINDOW + 1)
    for name, ask in ALL.items():
        rows_read.clear()
        ask(mysql)
        most = max(after - before for before, after in pairwise(rows_read))
        assert most < 4 * WINDOW, name


def test_what_is_found_does_not_depend_on_where_a_window_ends(database):
    count = 2 * WINDOW + 1
    fill(
        database,
        count,
        name=lambda n: "same" if n in (0, count - 1) else f"c{n}",
        parent_id=lambda n: "gone" if n == WINDOW else "1",
        path=lambda n: "/d/same" if n in (0, count - 1) else f"/d/c{n}" if n != WINDOW else None,
    )
    assert Quality(database).findings(*KEY) == [
        Finding(check="orphan", count=1, examples=(f"case {WINDOW:06}",)),
        Finding(check="duplicate", count=1, examples=(f"case {count - 1:06}",)),
    ]
    assert Rows(database).cases_by_directory(*KEY) == {"1": count - 1, "gone": 1}
    assert list(Rows(database).misplaced_cases(*KEY)) == []
