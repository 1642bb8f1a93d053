"""Things in a cache, as JSON: written only if a cache wants to keep them, and read only if it had them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from collectors.interfaces import AN_HOUR, Cache


def read(
    cache: Cache,
    keys: Sequence[str],
    make: Callable[[Sequence[str]], Mapping[str, Any]],
    kept: Callable[[Any], bool] = lambda thing: True,
    lasting: float = AN_HOUR,
) -> dict[str, Any]:
    """The things of `keys`, of those that have one; `make` is asked for what is not cached.

    Of what it makes, that is cached which may be `kept`.
    """
    made: dict[str, Any] = {}

    def load(missing: Sequence[str]) -> Mapping[str, bytes]:
        some = make(missing)
        made.update(some)
        return Written({key: thing for key, thing in some.items() if kept(thing)})

    found = cache.read(keys, load, lasting)
    return {key: made[key] if key in made else orjson.loads(found[key]) for key in keys if key in made or key in found}


class Written(Mapping[str, bytes]):
    def __init__(self, things: Mapping[str, Any]) -> None:
        self._things = things

    def __getitem__(self, key: str) -> bytes:
        return orjson.dumps(self._things[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
