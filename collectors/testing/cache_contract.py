"""What every cache has to keep; a test of one inherits it.

    class TestMine(CacheContract):
        @pytest.fixture
        def cache(self): ...          # an empty cache

It needs pytest.
"""

from concurrent.futures import ThreadPoolExecutor

ODD = ["é", "\N{GRINNING FACE}", "a b", "a\nb", "{a}", "n1", "n1 "]


class CacheContract:
    def test_what_is_loaded_is_answered(self, cache):
        found = cache.read(["a", "b", "c"], lambda keys: {key: key.upper().encode() for key in keys if key != "c"})
        assert dict(found) == {"a": b"A", "b": b"B"}
        assert dict(cache.read([], lambda keys: {})) == {}

    def test_values_are_kept_byte_for_byte(self, cache):
        values = {f"k:{name}": bytes(range(256)) + name.encode() for name in ODD}
        for _ in range(2):
            assert dict(cache.read(list(values), lambda keys: {key: values[key] for key in keys})) == values

    def test_after_a_drop_the_new_value_is_read(self, cache):
        assert cache.read(["a"], lambda _: {"a": b"old"})["a"] == b"old"
        cache.drop("t", ["a"])
        assert cache.read(["a"], lambda _: {"a": b"new"})["a"] == b"new"

    def test_what_did_not_exist_is_found_once_it_does(self, cache):
        assert "a" not in cache.read(["a"], lambda _: {})
        cache.drop("t", ["a"])
        assert cache.read(["a"], lambda _: {"a": b"new"})["a"] == b"new"

    def test_what_was_loaded_while_it_was_dropped_is_not_kept(self, cache):
        def load(_):
            cache.drop("t", ["a"])
            return {"a": b"old"}

        cache.read(["a"], load)
        assert cache.read(["a"], lambda _: {"a": b"new"})["a"] == b"new"

    def test_a_drop_is_of_one_tenant(self, cache):
        mine, others = cache.generation("mine"), cache.generation("others")
        cache.drop("mine", [])
        assert cache.generation("others") == others
        assert mine == cache.generation("mine") == "" or cache.generation("mine") != mine

    def test_who_begins_to_read_after_a_drop_has_ended_sees_what_was_stored_before_it(self, cache):
        stored, dropped = dict.fromkeys("abc", 0), dict.fromkeys("abc", 0)

        def read(number: int) -> bool:
            key = "abc"[number % 3]
            least = dropped[key]
            return int(cache.read([key], lambda keys: {each: b"%d" % stored[each] for each in keys})[key]) >= least

        def write(number: int) -> bool:
            key = "abc"[number % 3]
            stored[key] += 1
            cache.drop("t", [key])
            dropped[key] = stored[key]
            return True

        with ThreadPoolExecutor(8) as threads:
            reading = [threads.submit(read, number) for number in range(600)]
            for number in range(200):
                write(number)
                reading.append(threads.submit(read, number))
            assert all(each.result() for each in reading)
