"""Under which keys things are cached. Ids come last, since they may hold anything."""

from collectors.models import Document


def record_key(tenant: str, collection: str, kind: str, id: str) -> str:
    """One record in full."""
    return f"{tenant}:{collection}:test:{kind}:{id}"


def key_of(document: Document) -> str:
    return record_key(document.tenant, document.collection, document.kind, document.id)


def generation_key(tenant: str, what: str, generation: str) -> str:
    """Something that depends on many records: no drop names it, but after each one it is asked for by another key."""
    return f"{tenant}:test:{what}:{generation}"
