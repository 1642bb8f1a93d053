"""What is wrong with the records of a collection among each other, asked of all rows at once."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, and_, func, or_, select

from blocks.sql.database import Database, repeatable
from blocks.sql.tables import RECORDS, test_directory
from collectors.quality import MOST_EXAMPLES, Check, Finding


class Quality:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def findings(self, tenant: str, collection: str) -> list[Finding]:
        """Live records whose directory is not there, and siblings that share a name."""
        orphans = [(kind, _orphans(table, tenant, collection)) for kind, table in RECORDS.items()]
        twins = [(kind, _twins(table, tenant, collection)) for kind, table in RECORDS.items()]
        return [*self._found("orphan", orphans), *self._found("duplicate", twins)]

    def _found(self, check: Check, queries: Iterable[tuple[str, Any]]) -> list[Finding]:
        count, examples = 0, []
        with self._database.read() as connection:
            for kind, query in queries:
                matches = query.subquery()
                count += connection.scalar(select(func.count()).select_from(matches)) or 0
                some = connection.scalars(select(matches.c.id).order_by(matches.c.id).limit(MOST_EXAMPLES))
                examples += [f"{kind} {id}" for id in some]
        return [Finding(check=check, count=count, examples=tuple(examples[:MOST_EXAMPLES]))] if count else []


def _live(table: Table, tenant: str, collection: str) -> Any:
    return and_(table.c.tenant == tenant, table.c.collection == collection, table.c.deleted.is_(False))


def _orphans(table: Table, tenant: str, collection: str) -> Any:
    above = test_directory.alias()
    of = and_(
        above.c.tenant == table.c.tenant, above.c.collection == table.c.collection, above.c.id == table.c.parent_id
    )
    missing = or_(above.c.id.is_(None), above.c.deleted.is_(True))
    joined = table.outerjoin(above, of)
    return (
        select(table.c.id)
        .select_from(joined)
        .where(_live(table, tenant, collection), table.c.parent_id.is_not(None), missing)
    )


def _twins(table: Table, tenant: str, collection: str) -> Any:
    """One of each group of siblings with one name."""
    siblings = select(func.min(table.c.id).label("id")).where(_live(table, tenant, collection))
    return siblings.group_by(table.c.parent_id, table.c.name).having(func.count() > 1)
