"""All rows of a kind of a collection, so many at a time: none of the questions takes long, however many there are."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, and_, select

WINDOW = 2_000
Found = TypeVar("Found")


def window(connection: Connection, table: Table, tenant: str, collection: str, after: str) -> tuple[Any, str | None]:
    """What is true of the next rows by id, and the last id of them; None: none come after them."""
    c = table.c
    rest = and_(c.tenant == tenant, c.collection == collection, c.id > after)
    last = connection.scalar(select(c.id).where(rest).order_by(c.id).limit(1).offset(WINDOW - 1))
    return (rest if last is None else and_(rest, c.id <= last)), last


def found_in_each(look: Callable[[str], tuple[Found, str | None]], after: str = "") -> Iterator[Found]:
    """What is found among the rows after an id, window by window, each in a transaction of its own: `look` answers what
    it found after an id, and the last id it looked at, None at the end."""
    last: str | None = after
    while last is not None:
        found, last = look(last)
        if found:
            yield found


def windows(connection: Connection, table: Table, tenant: str, collection: str) -> Iterator[Any]:
    """What is true of the first rows by id, then of the next ones, and so on."""
    after: str | None = ""
    while after is not None:
        here, after = window(connection, table, tenant, collection, after)
        yield here
