"""All rows of a kind of a collection, so many at a time: none of the questions takes long, however many there are."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, and_, select

WINDOW = 2_000


def window(connection: Connection, table: Table, tenant: str, collection: str, after: str) -> tuple[Any, str | None]:
    """What is true of the next rows by id, and the last id of them; None: none come after them."""
    c = table.c
    rest = and_(c.tenant == tenant, c.collection == collection, c.id > after)
    last = connection.scalar(select(c.id).where(rest).order_by(c.id).limit(1).offset(WINDOW - 1))
    return (rest if last is None else and_(rest, c.id <= last)), last


def windows(connection: Connection, table: Table, tenant: str, collection: str) -> Iterator[Any]:
    """What is true of the first rows by id, then of the next ones, and so on."""
    after: str | None = ""
    while after is not None:
        here, after = window(connection, table, tenant, collection, after)
        yield here
