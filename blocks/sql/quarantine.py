"""Records that were refused, as they came."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, literal, or_, select, tuple_

from blocks.sql.database import Database, repeatable
from blocks.sql.tables import quarantine, run


class Quarantine:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def records(
        self,
        run_id: str | None = None,
        limit: int = 1000,
        tenant: str = "default",
        after: Sequence[Any] | None = None,
    ) -> list[dict[str, Any]]:
        """What a run refused, newest first; without one, what all runs of the tenant did.

        `after`: what follows the one of this (created_at, run id, shard id, page, position).
        """
        q = quarantine.c
        place = (q.run_id, q.shard_id, q.page, q.position)
        query = select(quarantine).order_by(q.created_at.desc(), *place)
        if after:
            at, *where = after
            later = and_(q.created_at == at, tuple_(*place) > tuple_(*map(literal, where)))
            query = query.where(or_(q.created_at < at, later))
        if run_id:
            query = query.where(quarantine.c.run_id == run_id)
        else:
            query = query.join(run, run.c.run_id == quarantine.c.run_id).where(run.c.tenant == tenant)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]
