"""Things in a cache, as JSON with a checksum: written only if a cache wants to keep them, and read only if it had them.

What somebody else has put there counts as not there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

from collectors.interfaces import AN_HOUR, Cache

SEAL = 8


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
    things = made | {key: opened(found[key]) for key in found if key not in made}  # what was made is not read again
    if spoilt := [key for key, thing in things.items() if thing is None]:
        things = {key: things[key] for key in things if key not in spoilt} | make(spoilt)
    return {key: things[key] for key in keys if key in things}


def opened(value: bytes) -> Any:
    """The thing that was written; None when it was not written here."""
    return orjson.loads(value[SEAL:]) if value[:SEAL] == _seal(value[SEAL:]) else None


def _seal(text: bytes) -> bytes:
    return b"%08x" % crc32(text)


class Written(Mapping[str, bytes]):
    def __init__(self, things: Mapping[str, Any]) -> None:
        self._things = things

    def __getitem__(self, key: str) -> bytes:
        text = orjson.dumps(self._things[key])
        return _seal(text) + text

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
