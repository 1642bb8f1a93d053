"""Under which keys things are cached, as `tenant:collection:test:...`; ids come last, since they may hold anything."""

from collectors.models import Applied, Batch


def record_key(tenant: str, collection: str, kind: str, id: str) -> str:
    """One record in full."""
    return f"{tenant}:{collection}:test:{kind}:{id}"


def children_key(tenant: str, collection: str, directory_id: str | None) -> str:
    """What stands in a directory; None: at the top."""
    return f"{tenant}:{collection}:test:path:{directory_id or ''}"


def keys_of(batch: Batch, applied: Applied) -> list[str]:
    """Everything that is stale once a batch was applied."""
    of = batch.tenant, batch.collection
    return [
        *(record_key(*of, document.kind, document.id) for document in applied.documents),
        *(children_key(*of, directory) for directory in applied.directories),
    ]
