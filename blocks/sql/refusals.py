"""The quarantine: records that were refused, each kept once however often its page comes again."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from blocks.sql.constructs import now
from blocks.sql.tables import quarantine, shard
from collectors.models import LARGEST_BATCH, Batch, Quarantined, page_of


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


def set_aside_of(connection: Connection, batch: Batch, refused: Sequence[Quarantined]) -> None:
    """Records of a batch that reading had let pass: kept at places below zero, where none stands that it refused."""
    if not refused:
        return
    page, part = page_of(batch.page)
    start = -1 - part * LARGEST_BATCH
    placed = [replace(each, position=start - each.position) for each in refused]
    of_shard = (shard.c.run_id == batch.run_id, shard.c.shard_id == batch.shard_id)
    connection.execute(select(shard.c.shard_id).where(*of_shard).with_for_update())
    if kept := set_aside(connection, batch.run_id, batch.shard_id, page, placed):
        connection.execute(update(shard).where(*of_shard).values(quarantined=shard.c.quarantined + kept))
