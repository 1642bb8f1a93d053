"""Leases on rows of `run` and `shard`: who works on it until when, and the fence that shuts out a stale worker."""

from typing import Any

from sqlalchemy import Connection, Table, or_, select, update

from blocks.process import is_gone
from blocks.sql.constructs import now

LEASE_SECONDS = 15.0


def until(seconds: float) -> Any:
    return now() + int(seconds * 1_000_000)


def take(connection: Connection, table: Table, key: Any, owner: str, seconds: float, **values: Any) -> int | None:
    """The new fence, or None while somebody holds the lease. A holder known to be gone does not count."""
    holder = connection.scalar(select(table.c.owner).where(key))
    free = table.c.lease_until < now()
    if is_gone(holder):
        free = or_(free, table.c.owner == holder)
    taken = connection.execute(
        update(table)
        .where(key, free)
        .values(owner=owner, fence=table.c.fence + 1, lease_until=until(seconds), **values)
    )
    return connection.scalar(select(table.c.fence).where(key)) if taken.rowcount else None
