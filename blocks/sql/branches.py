"""One tree, read directory by directory: all that is read through one of these is as of one moment."""

from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, literal, select

from blocks.sql.constructs import execute_bound
from blocks.sql.tables import RECORDS

FIELDS = ("id", "parent_id", "name", "path", "deleted")


def _of(table: Table) -> Any:
    return and_(table.c.tenant == bindparam("tenant"), table.c.collection == bindparam("collection"))


def _shown(kind: str) -> list[Any]:
    return [literal(kind).label("kind"), *(RECORDS[kind].c[name].label(name) for name in FIELDS)]


def _next(kind: str, *conditions: Any, by_parent: bool = False) -> Any:
    """The next rows by id."""
    t = RECORDS[kind]
    query = select(*_shown(kind)).where(_of(t), t.c.id > bindparam("after"), *conditions)
    if by_parent:  # SQLite would go through all records of the collection for the sake of their order
        query = query.with_hint(t, f"INDEXED BY {t.name}_of_parent", "sqlite")
    return query.order_by(t.c.id).limit(bindparam("limit"))


_AT_THE_TOP = {kind: _next(kind, t.c.parent_id.is_(None), by_parent=True) for kind, t in RECORDS.items()}
_WITHIN = {kind: _next(kind, t.c.parent_id == bindparam("parent"), by_parent=True) for kind, t in RECORDS.items()}
_LOST = {kind: _next(kind, t.c.path.is_(None), t.c.deleted.is_(False)) for kind, t in RECORDS.items()}
_ONE = {kind: select(*_shown(kind)).where(_of(t), t.c.id == bindparam("id")) for kind, t in RECORDS.items()}


class Branches:
    def __init__(self, connection: Connection, tenant: str, collection: str) -> None:
        self._connection = connection
        self._of = {"tenant": tenant, "collection": collection}

    def within(self, kind: str, directory: str | None, after: str, limit: int) -> list[dict[str, Any]]:
        """The next by id in a directory, or in none; gone ones are among them, since others hang below them."""
        values = {"after": after, "limit": limit}
        if directory is None:
            return self._rows(_AT_THE_TOP[kind], values)
        return self._rows(_WITHIN[kind], values | {"parent": directory})

    def lost(self, kind: str, after: str, limit: int) -> list[dict[str, Any]]:
        """The next live ones by id whose place is not known."""
        return self._rows(_LOST[kind], {"after": after, "limit": limit})

    def above(self, kind: str, id: str) -> list[str]:
        """The ids of the directories it lies in, the highest first, as far as they are known; each once."""
        found: list[str] = []
        while (row := self._one(kind, id)) and (parent := row["parent_id"]) and parent not in found:
            found.insert(0, parent)
            kind, id = "directory", parent
        return found

    def directory(self, id: str) -> dict[str, Any] | None:
        """Also one that is gone."""
        return self._one("directory", id)

    def _one(self, kind: str, id: str) -> dict[str, Any] | None:
        return next(iter(self._rows(_ONE[kind], {"id": id})), None)

    def _rows(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in execute_bound(self._connection, statement, self._of | values).mappings()]
