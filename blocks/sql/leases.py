"""Leases on rows of `run` and `shard`: who works on it until when, and the fence that shuts out a stale worker."""

from typing import Any

from sqlalchemy import Connection, Table, or_, select, update

from blocks.process import is_gone
from blocks.sql.constructs import Upsert, now
from blocks.sql.tables import OBSERVATION, counter

LEASE_SECONDS = 15.0


def until(seconds: float) -> Any:
    return now() + int(seconds * 1_000_000)


def is_held(row: Any, at: int) -> bool:
    """Whether the row's lease, at this time of the database's clock, is one of a process that may be alive."""
    return row["lease_until"] > at and not is_gone(row["owner"])


def one_at_a_time(connection: Connection) -> None:
    """SQLite has one writer; elsewhere who begins, leads or plans a run waits here for others who do."""
    connection.execute(Upsert(counter, [(counter.c.value, counter.c.value)]).values(name=OBSERVATION, value=0))


def take(
    connection: Connection, table: Table, key: Any, owner: str, since: int, seconds: float, **values: Any
) -> int | None:
    """The new fence, or None while somebody holds the lease. A holder known to be gone does not count.

    What `owner` has taken since the fence was `since` is its own already.
    """
    holder, fence = connection.execute(select(table.c.owner, table.c.fence).where(key)).one_or_none() or (None, since)
    if (holder, fence) == (owner, since + 1):
        return fence
    free = table.c.lease_until < now()
    if is_gone(holder):
        free = or_(free, table.c.owner == holder)
    taken = connection.execute(
        update(table)
        .where(key, free)
        .values(owner=owner, fence=table.c.fence + 1, lease_until=until(seconds), **values)
    )
    return connection.scalar(select(table.c.fence).where(key)) if taken.rowcount else None
