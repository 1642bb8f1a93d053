"""Under which keys things are cached, as `tenant:collection:test:...`; ids come last, since they may hold anything."""

from collections.abc import Mapping
from hashlib import sha256

from collectors.models import Applied, Batch
from collectors.paths import Move


def record_key(tenant: str, collection: str, kind: str, id: str) -> str:
    """One record in full."""
    return f"{tenant}:{collection}:test:{kind}:{id}"


def children_key(tenant: str, collection: str, directory_id: str | None) -> str:
    """What stands in a directory; None: at the top."""
    return f"{tenant}:{collection}:test:path:{directory_id or ''}"


def outline_key(tenant: str, collection: str) -> str:
    """Which directories there are, and how many cases."""
    return f"{tenant}:{collection}:test:outline"


def search_key(tenant: str, generation: str, *question: object) -> str:
    """What a search found while nothing was dropped."""
    return f"{tenant}:search:{generation}:{sha256(ascii(question).encode()).hexdigest()}"


def keys_of(batch: Batch, applied: Applied) -> list[str]:
    """Everything that is stale once a batch was applied."""
    of = batch.tenant, batch.collection
    if not applied.documents and not applied.directories:
        return []
    return [
        outline_key(*of),
        *(record_key(*of, document.kind, document.id) for document in applied.documents),
        *(children_key(*of, directory) for directory in applied.directories),
    ]


def keys_of_moves(tenant: str, collection: str, kind: str, parents: Mapping[Move, str | None]) -> list[str]:
    """Everything that is stale once records have another path; they stand in these parents."""
    of = tenant, collection
    return [
        *(record_key(*of, kind, move.id) for move in parents),
        *(children_key(*of, parent) for parent in set(parents.values())),
    ]
