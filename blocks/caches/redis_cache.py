"""Redis as the cache. Who misses a key reserves it with a token, loads, and fills what is still reserved.

Dropping a key destroys the token with it, so that what was loaded before is never kept after; others wait for whoever
loads. Both as in "Scaling Memcache at Facebook" (NSDI 2013).
"""

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from urllib.parse import urlsplit

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from blocks.caches.breaker import Breaker
from blocks.caches.refusals import in_our_words, not_an_address
from blocks.caches.scripts import Scripts
from collectors.interfaces import AN_HOUR, Load

SECONDS_TO_ANSWER = 1.0
MOST_CONNECTIONS = 32
# Between looks at what somebody else is loading; after the last one, about a second in all, it is loaded here too.
PAUSES = (0.002, 0.005, 0.01, 0.02, *[0.05] * 19)
KEYS_READ = 1_000  # in one call: a script cannot take many thousands
KEYS_DROPPED = 5_000


class RedisCache:
    def __init__(self, url: str) -> None:
        """Connects when it is first asked. Raises Misconfigured when `url` is no address of a Redis."""
        self._pool, self._server = _connections(url)
        self._redis = Redis(connection_pool=self._pool)
        self._scripts, self._breaker = Scripts(self._redis), Breaker(self._server)

    def read(self, keys: Sequence[str], load: Load, lasting: float = AN_HOUR) -> Mapping[str, bytes]:
        asked, found = list(dict.fromkeys(keys)), {}
        for start in range(0, len(asked), KEYS_READ):
            some = asked[start : start + KEYS_READ]
            found |= load(some) if self._breaker.is_open else self._read(some, load, lasting)
        return found

    def peek(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        with self._explained():
            return self._scripts.kept(keys)

    def drop(self, tenant: str, keys: Iterable[str]) -> None:
        stale = list(keys)
        if not stale:
            return
        stale.append(_generation_key(tenant))
        with self._explained():
            for start in range(0, len(stale), KEYS_DROPPED):
                self._redis.unlink(*stale[start : start + KEYS_DROPPED])

    def generation(self, tenant: str) -> str:
        """Made of chance: one that could not be kept is the generation of nothing."""
        key = _generation_key(tenant)
        return self.read([key], lambda _: {key: token_hex(8).encode()})[key].decode()

    def check(self) -> str:
        """The server's version, when everything can be done that a cache needs. Raises Unreachable, Misconfigured."""
        key = f"check:{token_hex(8)}"
        with self._explained():
            self._scripts.ask([key], key)
            self._redis.unlink(key)
            return self._redis.info("server")["redis_version"]

    def close(self) -> None:
        self._pool.disconnect()

    def _read(self, left: Sequence[str], load: Load, lasting: float) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        token = token_hex(8)
        with self._breaker.watching():
            for pause in PAUSES:
                kept, missing, left = self._scripts.ask(left, token)
                found |= kept
                if missing:
                    found |= self._loaded(missing, token, load, lasting)
                if not left:
                    return found
                time.sleep(pause)
        return {**found, **load(left)}

    def _loaded(self, missing: Sequence[str], token: str, load: Load, lasting: float) -> dict[str, bytes]:
        loaded: dict[str, bytes] = {}
        try:
            loaded = dict(load(missing))
            return loaded
        finally:
            with self._breaker.watching():
                # Of different length, so that what was filled together does not end together.
                lives = [lasting * random.uniform(0.9, 1) for _ in missing]
                self._scripts.fill(missing, token, loaded, lives)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise in_our_words(error, self._server) from error


def _generation_key(tenant: str) -> str:
    return f"{tenant}:generation"


def _connections(url: str) -> tuple[BlockingConnectionPool, str]:
    """A pool, and what its server is called in texts. No error here says why: what is wrong may hold the password."""
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=SECONDS_TO_ANSWER,
            socket_connect_timeout=SECONDS_TO_ANSWER,
            socket_timeout=SECONDS_TO_ANSWER,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            encoding_errors="surrogatepass",
        )
        options = pool.connection_kwargs
        pool.connection_class(**options)
        where = urlsplit(url)
    except (ValueError, TypeError):
        raise not_an_address() from None
    if where.scheme != "unix" and not re.fullmatch(r"(/\d*)?", where.path):
        raise not_an_address()
    return pool, options.get("path") or f"{where.hostname}:{where.port or 6379}{where.path}"
