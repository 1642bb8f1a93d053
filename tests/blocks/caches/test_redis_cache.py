"""The cache in a real Redis: what it saves, and what it costs when Redis is not well."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from blocks.caches import redis_cache
from blocks.caches.redis_cache import RedisCache
from collectors.errors import Misconfigured, Unreachable
from collectors.testing.cache_contract import CacheContract
from deployments.dev_servers.kinds import Redis


@pytest.fixture
def cache(cache_url):
    opened = RedisCache(cache_url)
    yield opened
    opened.close()


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(redis_cache, "SECONDS_TO_ANSWER", 0.3)


@pytest.fixture
def own(own_server, hurried):
    """A server of this test's own, and a cache on it."""
    server = own_server(Redis)
    opened = RedisCache(server.server.url)
    yield server, opened
    server.signal(signal.SIGCONT)
    opened.close()


def never(keys):
    raise AssertionError(f"{keys} should have been cached")


class TestRedisCache(CacheContract):
    pass


def test_what_was_loaded_once_is_not_loaded_again(cache):
    assert cache.read(["a", "b"], lambda _: {"a": b"A", "b": b"B"}) == {"a": b"A", "b": b"B"}
    assert cache.read(["b", "a"], never) == {"a": b"A", "b": b"B"}


def test_of_many_readers_at_once_one_loads(cache):
    loads, all_there = [], threading.Barrier(20)

    def load(keys):
        loads.append(keys)
        time.sleep(0.1)
        return {"a": b"A"}

    def read(_):
        all_there.wait()
        return cache.read(["a"], load)["a"]

    with ThreadPoolExecutor(20) as readers:
        assert set(readers.map(read, range(20))) == {b"A"}
    assert len(loads) == 1


def test_who_was_to_load_and_died_is_not_waited_for_for_long(cache, monkeypatch):
    monkeypatch.setattr(redis_cache, "SECONDS_TO_LOAD", 1)

    def die(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.read(["a"], die)
    assert cache.read(["a"], lambda _: {"a": b"A"}) == {"a": b"A"}


def test_everything_that_is_kept_ends_some_day(cache, cache_url):
    cache.read(["a"], lambda _: {"a": b"A"})
    with redis.Redis.from_url(cache_url) as client:
        assert 0 < client.ttl("a") <= redis_cache.SECONDS_KEPT


def test_a_dead_server_costs_time_only_and_no_change_is_taken_for_made(own):
    server, cache = own
    cache.read(["a"], lambda _: {"a": b"A"})
    server.down(signal.SIGKILL)
    began = time.monotonic()
    assert cache.read(["a"], lambda _: {"a": b"B"}) == {"a": b"B"}
    assert cache.generation("t") != cache.generation("t")
    assert time.monotonic() - began < 2.0
    with pytest.raises(Unreachable):
        cache.drop("t", ["a"])
    server.up()
    cache.drop("t", ["a"])


def test_a_frozen_server_is_passed_by(own):
    server, cache = own
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(20):
        assert cache.read(["a"], lambda _: {"a": b"A"}) == {"a": b"A"}
    assert time.monotonic() - began < 2.0
    with pytest.raises(Unreachable):
        cache.drop("t", ["a"])


def test_a_server_that_forgot_everything_is_filled_again(cache, cache_url):
    cache.read(["a"], lambda _: {"a": b"A"})
    with redis.Redis.from_url(cache_url) as client:
        client.flushall()
        client.script_flush()
    assert cache.read(["a"], lambda _: {"a": b"B"}) == {"a": b"B"}
    assert cache.read(["a"], never) == {"a": b"B"}


def test_a_wrong_password_is_said_without_it(cache_url):
    cache = RedisCache(cache_url.replace("redis://:", "redis://:wrong-"))
    with pytest.raises(Misconfigured) as error:
        cache.drop("t", ["a"])
    assert "wrong-" not in str(error.value)
    assert cache.read(["a"], lambda _: {"a": b"A"}) == {"a": b"A"}
    cache.close()


def test_thousands_of_keys_are_dropped_in_one_call(cache):
    keys = [f"k{number}" for number in range(12_000)]
    cache.read(keys, lambda keys: dict.fromkeys(keys, b"old"))
    cache.drop("t", keys)
    assert set(cache.read(keys, lambda keys: dict.fromkeys(keys, b"new")).values()) == {b"new"}
