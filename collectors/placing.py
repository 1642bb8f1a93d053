"""Where the shards of a run are read: in its own process, or by workers of a work pool. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from collectors.models import Collection

INLINE: Literal["inline"] = "inline"
POOL: Literal["pool"] = "pool"
# A placed shard takes five to fifteen seconds to start: less than this is read sooner where the run is.
PLACED_FROM = 100_000


class Placement(NamedTuple):
    where: str
    why: str


def placement(collection: Collection, estimates: Sequence[int]) -> Placement:
    """Of a run whose shards have these estimates, in records."""
    records = sum(estimates)
    if collection.placement != "auto":
        return Placement(collection.placement, f"the collection says {collection.placement}")
    if len(estimates) < 2:
        return Placement(INLINE, "there is one shard at most")
    if records < PLACED_FROM:
        return Placement(INLINE, f"{records:,} records are read sooner here than {PLACED_FROM:,} by others")
    return Placement(POOL, f"{records:,} records are {PLACED_FROM:,} or more")
