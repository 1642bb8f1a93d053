"""The cache without a server: everything is loaded each time, and nothing can be stale."""

from collections.abc import Iterable, Mapping, Sequence

from collectors.interfaces import AN_HOUR, Load


class NoCache:
    def read(self, keys: Sequence[str], load: Load, lasting: float = AN_HOUR) -> Mapping[str, bytes]:
        return load(keys)

    def peek(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return {}

    def drop(self, tenant: str, keys: Iterable[str]) -> None:
        pass

    def generation(self, tenant: str) -> str:
        return ""
