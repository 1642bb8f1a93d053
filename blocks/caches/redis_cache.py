"""Redis as a cache in front of the other stores.

Who misses a key leaves a token there, and fills the key only while that token is still there; dropping takes it away.
So nothing stale stays, and of several who miss one loads. After the leases of Nishtala et al., Scaling Memcache at
Facebook, NSDI 2013. Each key is a hash of its value, or of the token until there is one.
"""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from collectors.errors import CollectError, Misconfigured, Unreachable

SECONDS_TO_ANSWER = 1.0
SECONDS_KEPT = 3600
SECONDS_TO_LOAD = 5
LOOK_EVERY = 0.01
SECONDS_PASSED_BY = 5.0
CONNECTIONS = 16
Load = Callable[[Sequence[str]], Mapping[str, bytes]]
log = logging.getLogger(__name__)

# Answers for each key its value, that we have to load it now, or that somebody else does.
TAKE = """
local found = {}
for at, key in ipairs(KEYS) do
    local value = redis.call('HGET', key, 'value')
    if value then found[at] = {'is', value}
    elseif redis.call('HSETNX', key, 'token', ARGV[1]) == 1 then
        redis.call('EXPIRE', key, ARGV[2])
        found[at] = {'load'}
    else found[at] = {'wait'} end
end
return found
"""
FILL = """
for at, key in ipairs(KEYS) do
    if redis.call('HGET', key, 'token') == ARGV[1] then
        redis.call('DEL', key)
        if ARGV[at + 2] ~= '' then
            redis.call('HSET', key, 'value', ARGV[at + 2])
            redis.call('EXPIRE', key, ARGV[2])
        end
    end
end
"""
DROP = """
for at = 2, #KEYS, 5000 do redis.call('UNLINK', unpack(KEYS, at, math.min(at + 4999, #KEYS))) end
return redis.call('INCR', KEYS[1])
"""


class RedisCache:
    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.server = f"{parts.hostname}:{parts.port or 6379}{parts.path}"
        self._pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=SECONDS_TO_ANSWER,
            socket_connect_timeout=SECONDS_TO_ANSWER,
            socket_timeout=SECONDS_TO_ANSWER,
            retry=None,
            health_check_interval=30,
        )
        self._client = redis.Redis(connection_pool=self._pool)
        self._take, self._fill, self._drop = (self._client.register_script(each) for each in (TAKE, FILL, DROP))
        self._passed_by_until = 0.0

    def read(self, keys: Sequence[str], load: Load) -> Mapping[str, bytes]:
        """A value that is empty is taken for none."""
        if not keys or time.monotonic() < self._passed_by_until:
            return load(keys)
        try:
            return self._read(keys, load)
        except _PassedBy:
            return load(keys)

    def peek(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        with self._explained():
            asked = self._client.pipeline(transaction=False)
            for key in keys:
                asked.hget(key, "value")
            return {key: value for key, value in zip(keys, asked.execute(), strict=True) if value}

    def drop(self, tenant: str, keys: Iterable[str]) -> None:
        with self._explained():
            self._drop(keys=[_generation(tenant), *keys])

    def generation(self, tenant: str) -> str:
        """Always another one while Redis does not answer: then nothing may be taken for current."""
        try:
            with self._passing():
                return (self._client.get(_generation(tenant)) or b"0").decode()
        except _PassedBy:
            return secrets.token_hex(8)

    def close(self) -> None:
        self._pool.disconnect()

    def check(self) -> str:
        """The server's version. Raises Unreachable, Misconfigured."""
        with self._explained():
            return self._client.info("server")["redis_version"]

    # ---- reading ---------------------------------------------------------------------------------------

    def _read(self, keys: Sequence[str], load: Load) -> dict[str, bytes]:
        token, values = secrets.token_hex(8), {}
        give_up = time.monotonic() + SECONDS_TO_LOAD
        missing = list(keys)
        while missing:
            with self._passing():
                answers = dict(zip(missing, self._take(keys=missing, args=[token, SECONDS_TO_LOAD]), strict=True))
            values |= {key: rest[0] for key, (what, *rest) in answers.items() if what == b"is"}
            mine = [key for key, (what, *_) in answers.items() if what == b"load"]
            values |= self._loaded(mine, load, token)
            missing = [key for key, (what, *_) in answers.items() if what == b"wait"]
            if missing and time.monotonic() > give_up:
                values |= load(missing)  # who was to load them takes too long, or died
                break
            if missing:
                time.sleep(LOOK_EVERY)
        return values

    def _loaded(self, keys: Sequence[str], load: Load, token: str) -> Mapping[str, bytes]:
        if not keys:
            return {}
        found = load(keys)
        seconds = round(SECONDS_KEPT * random.uniform(0.8, 1.0))
        try:
            with self._passing():
                self._fill(keys=keys, args=[token, seconds, *(found.get(key, b"") for key in keys)])
        except _PassedBy:
            log.debug("what was loaded could not be kept")
        return found

    # ---- a server that fails ---------------------------------------------------------------------------

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """A cache that fails is passed by for some seconds, and costs time only."""
        try:
            with self._explained():
                yield
        except CollectError as error:
            log.warning("the cache is passed by for %s s: %s", SECONDS_PASSED_BY, error.what)
            self._passed_by_until = time.monotonic() + SECONDS_PASSED_BY
            raise _PassedBy from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (AuthenticationError, NoPermissionError, ResponseError) as error:
            raise Misconfigured(
                "Redis at {server} does not let us in, or cannot be used ({why})",
                "Check user, password and number of the database: collect storage check",
                code="COL-0661",
                server=self.server,
                why=error,
            ) from error
        except (RedisError, OSError) as error:
            raise Unreachable(
                "Redis at {server} does not answer ({why})",
                "Check that it runs and is reached from here: collect storage check",
                code="COL-0660",
                server=self.server,
                why=error,
            ) from error


class _PassedBy(Exception):
    """The server failed, and is left alone for a while."""


def _generation(tenant: str) -> str:
    return f"{tenant}:test:generation"
