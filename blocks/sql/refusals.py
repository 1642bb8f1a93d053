"""The quarantine: records that were refused, each kept once however often its page comes again."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from blocks.sql.constructs import now
from blocks.sql.tables import quarantine
from collectors.models import Quarantined


def set_aside(connection: Connection, run_id: str, shard_id: str, page: int, refused: Sequence[Quarantined]) -> int:
    """Keep what is not kept already; answers how many that are."""
    if not refused:
        return 0
    c = quarantine.c
    of_page = (c.run_id == run_id, c.shard_id == shard_id, c.page == page)
    known = set(connection.scalars(select(c.position).where(*of_page)))
    rows = [
        {
            "run_id": run_id,
            "shard_id": shard_id,
            "page": page,
            "position": each.position,
            "reason": each.reason,
            "message": each.message,
            "record_id": each.record_id,
            "payload": each.payload,
        }
        for each in refused
        if each.position not in known
    ]
    if rows:
        connection.execute(insert(quarantine).values(created_at=connection.scalar(select(now()))), rows)
    return len(rows)
