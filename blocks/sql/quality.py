"""What is wrong with the records of a collection among each other: all of them are looked at, as of one moment."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from blocks.sql.database import Database, repeatable
from blocks.sql.tables import RECORDS
from blocks.sql.windows import windows
from collectors.quality import Finding, of_directories, of_records


class Quality:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def findings(self, tenant: str, collection: str) -> list[Finding]:
        with self._database.read() as connection:
            rows = _rows(connection, "directory", tenant, collection)
            directories = {id: (parent, name, deleted) for id, parent, name, deleted in rows}
            there = {id for id, (_, _, deleted) in directories.items() if not deleted}
            found = of_records(_live(connection, tenant, collection), there)
        return [*found, *of_directories(directories)]


def _live(connection: Connection, tenant: str, collection: str) -> Iterator[tuple[str, str, str | None, str]]:
    for kind in RECORDS:
        for id, parent, name, deleted in _rows(connection, kind, tenant, collection):
            if not deleted:
                yield kind, id, parent, name


def _rows(connection: Connection, kind: str, tenant: str, collection: str) -> Iterator[Row[Any]]:
    c = RECORDS[kind].c
    for here in windows(connection, RECORDS[kind], tenant, collection):
        query = select(c.id, c.parent_id, c.name, c.deleted).where(here).order_by(c.id)
        yield from connection.execute(query)
