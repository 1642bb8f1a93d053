"""What every cache has to keep, as tests to inherit. Nothing is imported from a test runner."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from random import Random

from collectors.interfaces import Cache

SECONDS = 20.0
ODD_KEYS = (
    "default:c:test:case:A1",
    "default:c:test:case:a1",
    "支付 \N{GRINNING FACE}",
    "a b\nc\0d",
    " ",
    "\ud800",
    "*",
)
ODD_VALUES = (b"", b"=", b"?", b"0", b"\0\r\n\xff", bytes(range(256)) * 4096, "支付".encode())
READERS, WRITERS, ROUNDS = 12, 4, 60


class Origin:
    """Where values come from: what a cache has to be true to."""

    def __init__(self, **values: bytes) -> None:
        self.values: dict[str, bytes] = dict(values)
        self.loads: Counter[str] = Counter()

    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        self.loads.update(keys)
        return {key: self.values[key] for key in keys if key in self.values}


class Broken(Exception):
    pass


class CacheContract:
    """Inherit it in a class called Test..., and say how the cache is opened."""

    def opened(self) -> AbstractContextManager[Cache]:
        """Nothing that a test asks for is in it."""
        raise NotImplementedError("say how an empty cache is opened")

    # ---- what is answered --------------------------------------------------------------------------------

    def test_what_is_loaded_is_answered_byte_by_byte_at_first_and_later(self) -> None:
        with self._new(**dict(zip(ODD_KEYS, ODD_VALUES, strict=True))) as (cache, origin):
            for _ in range(2):
                assert dict(cache.read(ODD_KEYS, origin.load)) == origin.values

    def test_more_keys_than_fit_in_one_call_are_answered(self) -> None:
        values = {f"key {number}": b"%d" % number for number in range(12_345)}
        with self._new(**values) as (cache, origin):
            for keys in (list(values)[::2], list(values)):
                assert dict(cache.read(keys, origin.load)) == {key: values[key] for key in keys}
            cache.drop("default", values)
            origin.values = dict.fromkeys(values, b"new")
            assert dict(cache.read(list(values), origin.load)) == origin.values

    def test_no_keys_and_keys_asked_for_twice_are_answered(self) -> None:
        with self._new(a=b"1") as (cache, origin):
            assert dict(cache.read([], origin.load)) == {}
            assert dict(cache.read(["a", "b", "a"], origin.load)) == {"a": b"1"}

    def test_a_key_without_a_value_has_one_as_soon_as_there_is_one(self) -> None:
        with self._new() as (cache, origin):
            assert dict(cache.read(["a"], origin.load)) == {}
            origin.values["a"] = b"1"
            assert dict(cache.read(["a"], origin.load)) == {"a": b"1"}

    def test_a_load_that_fails_is_heard_and_keeps_nobody_waiting(self) -> None:
        with self._new(a=b"1") as (cache, origin):

            def broken(_: Sequence[str]) -> Mapping[str, bytes]:
                raise Broken

            assert _is_raised(lambda: cache.read(["a"], broken)), "what load raises has to reach the reader"
            began = time.monotonic()
            assert dict(cache.read(["a"], origin.load)) == {"a": b"1"}
            assert time.monotonic() - began < 0.5, "the next reader waits for one that has failed"

    def test_nothing_is_kept_for_longer_than_it_may_last(self) -> None:
        with self._new(a=b"old") as (cache, origin):
            cache.read(["a"], origin.load, lasting=0.05)
            origin.values["a"] = b"new"
            until = time.monotonic() + SECONDS
            while dict(cache.read(["a"], origin.load, lasting=0.05)) != {"a": b"new"}:
                assert time.monotonic() < until, "it is still answered"

    def test_peeking_loads_nothing_and_shows_what_would_be_read(self) -> None:
        with self._new(a=b"1", b=b"") as (cache, origin):
            assert dict(cache.peek(["a", "b"])) == {}
            cache.read(["a", "b"], origin.load)
            peeked = dict(cache.peek(["a", "b", "c"]))
            assert peeked in ({}, origin.values), f"{peeked} is not what was read"
            cache.drop("default", ["a", "b"])
            assert dict(cache.peek(["a", "b"])) == {}

    # ---- what is dropped ---------------------------------------------------------------------------------

    def test_after_a_drop_the_new_value_is_read(self) -> None:
        with self._new(a=b"old", b=b"stays") as (cache, origin):
            for new in (b"one", b"two"):
                cache.read(["a", "b"], origin.load)
                origin.values["a"] = new
                cache.drop("default", ["a", "never read"])
                assert dict(cache.read(["a", "b"], origin.load)) == origin.values

    def test_after_a_drop_what_is_gone_is_not_answered(self) -> None:
        with self._new(a=b"old") as (cache, origin):
            cache.read(["a"], origin.load)
            del origin.values["a"]
            cache.drop("default", ["a"])
            assert dict(cache.read(["a"], origin.load)) == {}

    def test_what_is_dropped_while_it_is_loaded_is_answered_and_not_kept(self) -> None:
        with self._new(a=b"old", b=b"old") as (cache, origin):

            def overtaken(keys: Sequence[str]) -> Mapping[str, bytes]:
                loaded = origin.load(keys)
                origin.values["a"] = b"new"
                cache.drop("default", ["a"])
                return loaded

            assert dict(cache.read(["a", "b"], overtaken)) == {"a": b"old", "b": b"old"}
            assert dict(cache.read(["a", "b"], origin.load)) == {"a": b"new", "b": b"old"}

    def test_what_another_reader_loads_anew_after_a_drop_is_not_replaced_by_what_was_loaded_before(self) -> None:
        with self._new(a=b"old") as (cache, origin):

            def overtaken(keys: Sequence[str]) -> Mapping[str, bytes]:
                loaded = origin.load(keys)
                origin.values["a"] = b"new"
                cache.drop("default", ["a"])
                assert dict(cache.read(["a"], origin.load)) == {"a": b"new"}
                return loaded

            assert dict(cache.read(["a"], overtaken)) == {"a": b"old"}
            assert dict(cache.read(["a"], origin.load)) == {"a": b"new"}

    def test_what_depends_on_a_generation_is_loaded_again_after_any_drop_of_the_tenant(self) -> None:
        with self._new() as (cache, origin):

            def searched() -> bytes:
                key = f"default:{cache.generation('default')}:search"
                return cache.read([key], lambda keys: dict.fromkeys(keys, origin.values["found"]))[key]

            for found in (b"one", b"two", b"three"):
                origin.values["found"] = found
                cache.drop("default", ["anything"])
                assert [searched(), searched()] == [found, found]

    # ---- many at a time ----------------------------------------------------------------------------------

    def test_no_reader_is_answered_what_was_dropped_before_it_asked(self) -> None:
        """Each writer owns a key, raises its number at the origin and drops it; from then on less is a lie."""
        keys = [f"of writer {number}" for number in range(WRITERS)]
        with self._new(**dict.fromkeys(keys, b"0")) as (cache, origin):
            dropped = dict.fromkeys(keys, 0)

            def write(key: str) -> None:
                try:
                    for number in range(1, ROUNDS + 1):
                        origin.values[key] = b"%d" % number
                        cache.drop("default", [key])
                        dropped[key] = number
                finally:
                    writing.remove(key)

            def read(seed: int) -> None:
                chance = Random(seed)
                while writing:
                    asked = chance.sample(keys, chance.randint(1, WRITERS))
                    least = {key: dropped[key] for key in asked}
                    found = cache.read(asked, origin.load)
                    stale = [key for key in asked if int(found[key]) < least[key]]
                    assert not stale, f"{stale} answered {found}, when {least} had been dropped"

            writing = list(keys)
            with ThreadPoolExecutor(READERS + WRITERS) as threads:
                each = [threads.submit(read, seed) for seed in range(READERS)]
                each += [threads.submit(write, key) for key in keys]
            for done in each:
                done.result()
            assert dict(cache.read(keys, origin.load)) == dict.fromkeys(keys, b"%d" % ROUNDS)

    @contextmanager
    def _new(self, **values: bytes) -> Iterator[tuple[Cache, Origin]]:
        with self.opened() as cache:
            yield cache, Origin(**values)


def _is_raised(call: Callable[[], object]) -> bool:
    try:
        call()
    except Broken:
        return True
    return False
