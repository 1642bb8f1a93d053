"""Under which keys things are cached. Ids come last, since they may hold anything."""

from collections.abc import Iterable
from hashlib import sha256


def record_key(tenant: str, collection: str, kind: str, id: str) -> str:
    """One record in full."""
    return f"{tenant}:{collection}:test:{kind}:{id}"


def tree_key(tenant: str, collection: str) -> str:
    """All directories, and how many cases stand in each."""
    return f"{tenant}:{collection}:test:tree"


def search_key(tenant: str, generation: str, *question: object) -> str:
    """What was found: no drop names it, but after each one the generation is another."""
    return f"{tenant}:search:{generation}:{sha256(ascii(question).encode()).hexdigest()}"


def keys_of(tenant: str, collection: str, changed: Iterable[tuple[str, str]]) -> list[str]:
    """Everything that is stale once these (kind, id) changed; when none did, nothing is."""
    records = [record_key(tenant, collection, kind, id) for kind, id in changed]
    return [*records, tree_key(tenant, collection)] if records else []
