"""What is meant: which collection of those that were collected, and how much of it."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.stores import Storage
from collectors.errors import Misconfigured
from collectors.models import KINDS, Kind

MOST = 1_000_000
Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=MOST), show_default=True)]


def meant(storage: Storage, name: str | None, tenant: str) -> str:
    """The collection `name`, or the only one there is. Raises Misconfigured."""
    names = storage.catalog.collected(tenant)
    if name in names:
        return name
    if name is None and len(names) == 1:
        return names[0]
    have = "Collected so far: {names}" if names else "Collect one with: collect run demo"
    facts = {"names": ", ".join(names), "name": name}
    if name is None:
        raise Misconfigured("say which collection", have, code="COL-0226", **facts)
    raise Misconfigured("nothing was collected as {name!r}", have, code="COL-0228", **facts)


def wanted(storage: Storage, collection: str | None, kind: Kind | None, tenant: str) -> list[tuple[str, Kind]]:
    """The (collection, kind) a record may be of, as far as it is said."""
    names = [meant(storage, collection, tenant)] if collection else storage.catalog.collected(tenant)
    return [(name, each) for name in names for each in ([kind] if kind else KINDS)]


def parted(text: str) -> tuple[str, str | None]:
    """A run, or a shard as RUN/SHARD. Raises Misconfigured."""
    run_id, slash, shard_id = text.partition("/")
    if not run_id or (slash and not shard_id):
        raise Misconfigured(
            "{text} is neither a run nor a shard",
            "Write RUN, or RUN/SHARD, as collect status and collect shards show them.",
            code="COL-0281",
            text=f"{text:.60}",
        )
    return run_id, shard_id or None
