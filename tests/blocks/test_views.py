"""What people look at is never older than the last batch, whoever looks meanwhile, and whatever is cached."""

from contextlib import closing
from dataclasses import replace
from random import Random

import pytest

from blocks import views
from blocks.caches.none import NoCache
from blocks.caches.redis_cache import RedisCache
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.closing import repair_paths
from collectors.errors import Unreachable
from collectors.loading import Loader
from collectors.models import Batch, Record

IDS = ("1", "2", "3", "4")
NAMES = ("支付", "退款", "refund", "部分退款")
ANYWHERE = {"collection": None, "kind": None, "under": None}


class Crash(Exception):
    pass


class Seen:
    """Stores or a cache that let a test do something before and after one of their methods."""

    def __init__(self, of, method, before=lambda: None, after=lambda: None):
        self._of, self._before, self._after = of, before, after
        setattr(self, method, lambda *arguments, **options: self._done(getattr(of, method), arguments, options))

    def __getattr__(self, name):
        return getattr(self._of, name)

    def _done(self, call, arguments, options):
        self._before()
        result = call(*arguments, **options)
        self._after()
        return result


@pytest.fixture
def stores(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        yield storage


@pytest.fixture
def uncached(stores):
    return stores


@pytest.fixture
def cached(stores, cache_url):
    with closing(RedisCache(cache_url)) as cache:
        yield replace(stores, cache=cache)


@pytest.fixture(params=["uncached", "cached"])
def storage(request):
    return request.getfixturevalue(request.param)


def directory(id, name, parent=None, **fields):
    return Record(kind="directory", id=id, name=name, parent_id=parent, **fields)


def case(id, name, parent=None, **fields):
    return Record(kind="case", id=id, name=name, parent_id=parent, content={"said": name}, **fields)


def batch(number, *records, tenant="default"):
    return Batch(tenant, "c", "r", "s01", f"{number}.0", number, records)


def load(storage, number, *records, **where):
    Loader(storage.rows, storage.documents, storage.cache).apply(batch(number, *records, **where))


def repair(storage):
    return repair_paths(storage.rows, storage.documents, storage.cache, "default", "c")


def shown(storage, kind, id):
    """All of a record but its version, which an unchanged one is raised in without a word."""
    found = views.records(storage, "default", [("c", kind)], id)
    return [{name: value for name, value in record.items() if name != "version"} for record in found]


def found(storage, words):
    return [(hit.kind, hit.id, hit.path) for hit in views.search(storage, "default", words, ANYWHERE, 20)]


def looks(storage):
    """Everything there is to be seen."""
    records = [shown(storage, kind, id) for kind in ("directory", "case") for id in IDS]
    return records, views.tree(storage, "default", "c"), [found(storage, words) for words in NAMES]


# ---- one after another -------------------------------------------------------------------------------------


def test_a_record_is_shown_in_full_and_as_it_was_changed(storage):
    for number, name in enumerate(NAMES, 1):
        load(storage, number, case("1", name))
        for _ in range(2):
            (record,) = views.records(storage, "default", [("c", "case"), ("c", "directory")], "1")
            assert (record["kind"], record["name"], record["path"]) == ("case", name, f"/{name}")
            assert record["content"] == {"said": name}


def test_a_record_whose_details_are_not_there_yet_is_shown_without_and_not_kept(storage):
    documents = storage.rows.apply(batch(1, case("1", "退款")))
    assert [record["content"] for record in shown(storage, "case", "1")] == [None]
    storage.documents.write(documents)
    assert [record["content"] for record in shown(storage, "case", "1")] == [{"said": "退款"}]


def test_no_record_of_another_tenant_or_collection_is_shown(storage):
    load(storage, 1, case("1", "mine"))
    load(storage, 2, case("1", "theirs"), tenant="other")
    for _ in range(2):
        assert [record["name"] for record in shown(storage, "case", "1")] == ["mine"]
        assert views.records(storage, "other", [("c", "case")], "1")[0]["name"] == "theirs"
        assert views.records(storage, "default", [("d", "case")], "1") == []


def test_a_tree_follows_cases_and_directories_that_move(storage):
    load(storage, 1, directory("1", "a"), directory("2", "b"), case("1", "x", "1"))

    def drawn():
        top, total = views.tree(storage, "default", "c")
        return [(node["name"], node["cases"], [child["name"] for child in node["children"]]) for node in top], total

    assert drawn() == drawn() == ([("a", 1, []), ("b", 0, [])], 1)
    load(storage, 2, case("1", "x", "2"), case("2", "y"))
    assert drawn() == drawn() == ([("a", 0, []), ("b", 1, [])], 2)
    load(storage, 3, directory("1", "a", "2"))
    assert drawn() == drawn() == ([("b", 1, ["a"])], 2)
    load(storage, 4, directory("1", "a", "2", deleted=True))
    assert drawn() == drawn() == ([("b", 1, [])], 2)


def test_a_path_that_is_put_right_is_shown_so(storage):
    load(storage, 1, directory("1", "a"), directory("2", "b", "1"), case("1", "退款", "2"))
    looks(storage)
    load(storage, 2, directory("1", "new"))
    looks(storage)
    assert repair(storage) == 2
    (top,), _ = views.tree(storage, "default", "c")
    assert top["children"][0]["path"] == shown(storage, "directory", "2")[0]["path"] == "/new/b"
    assert shown(storage, "case", "1")[0]["path"] == "/new/b/退款"
    assert found(storage, "退款") == [("case", "1", "/new/b/退款")]


def test_paths_that_the_cache_cannot_be_told_of_are_left_to_the_next_repair(cached):
    load(cached, 1, directory("1", "a"), case("1", "退款", "1"))
    load(cached, 2, directory("1", "new"))
    looks(cached)
    with closing(RedisCache("redis://127.0.0.1:1/0")) as away, pytest.raises(Unreachable):
        repair(replace(cached, cache=away))
    assert repair(cached) == 1
    assert shown(cached, "case", "1")[0]["path"] == "/new/退款"


def test_a_search_is_answered_as_it_was_asked(storage):
    load(storage, 1, directory("1", "退款"), case("1", "退款", "1"))
    for _ in range(2):
        assert len(found(storage, "退款")) == 2
        for where, expected in (({"kind": "case"}, 1), ({"under": "/支付"}, 0), ({"collection": "d"}, 0)):
            assert len(views.search(storage, "default", "退款", ANYWHERE | where, 20)) == expected
        assert len(views.search(storage, "default", "退款", ANYWHERE, 1)) == 1
        assert views.search(storage, "other", "退款", ANYWHERE, 20) == []


def test_what_was_seen_once_is_seen_again_without_the_stores(cached):
    load(cached, 1, directory("1", "退款"), case("1", "退款", "1"))
    before = views.tree(cached, "default", "c"), found(cached, "退款"), shown(cached, "case", "1")
    gone = replace(cached, rows=None, documents=None)
    assert (views.tree(gone, "default", "c"), found(gone, "退款"), shown(gone, "case", "1")) == before


def test_a_run_that_found_nothing_changed_leaves_the_cache_as_it_is(cached):
    records = directory("1", "退款"), case("1", "退款", "1")
    load(cached, 1, *records)
    before = looks(cached)
    load(cached, 2, *records)
    gone = replace(cached, rows=None, documents=None)
    assert (views.tree(gone, "default", "c"), found(gone, "退款")) == (before[1], before[2][1])


# ---- at the same time --------------------------------------------------------------------------------------


class World:
    """Loaders, closers and people who look, all at one collection: what they do is left to chance."""

    def __init__(self, storage, seed):
        self.storage, self.plain = storage, replace(storage, cache=NoCache())
        self.chance, self.number, self.unfinished = Random(seed), 0, []

    def step(self):
        self.chance.choice([self.load, self.load, self.load_and_break, self.look_and_be_overtaken, self.repair])()
        if self.unfinished and self.chance.random() < 0.5:
            self.apply(self.unfinished.pop(0), self.storage)

    def load(self):
        """People look before the documents are written, and before anything is dropped."""
        self.apply(self.new_batch(), replace(self.storage, documents=Seen(self.storage.documents, "write", *self.both)))

    def load_and_break(self):
        """The loader dies on its way; its batch comes again, perhaps after others."""
        self.unfinished.append(self.new_batch())
        dying = {self.chance.choice(["before", "after"]): self.crash}
        documents, cache = Seen(self.storage.documents, "write", **dying), Seen(self.storage.cache, "drop", self.crash)
        with pytest.raises(Crash):
            self.apply(self.unfinished[-1], replace(self.storage, documents=documents, cache=cache))
        self.look()

    def look_and_be_overtaken(self):
        """What was read is kept, or is not, after a batch was loaded."""
        batches = [self.new_batch()]

        def load():
            if batches:
                self.apply(batches.pop(), self.storage)

        looks(replace(self.storage, rows=Seen(self.storage.rows, self.chance.choice(["of_id", "live"]), after=load)))
        load()

    def repair(self):
        repair(replace(self.storage, rows=Seen(self.storage.rows, "replace", *self.both)))

    @property
    def both(self):
        return self.look, self.look

    def look(self):
        looks(self.storage)

    def crash(self):
        raise Crash

    def apply(self, loaded, storage):
        Loader(storage.rows, storage.documents, storage.cache).apply(loaded)

    def new_batch(self):
        self.number += 1
        return batch(self.number, *(self.new_record() for _ in range(self.chance.randint(1, 4))))

    def new_record(self):
        some, deleted = self.chance.choice, self.chance.random() < 0.2
        return some([directory, case])(some(IDS), some(NAMES), some([None, *IDS]), deleted=deleted)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_breaks_and_whoever_looks_meanwhile_nobody_sees_an_older_state_afterwards(cached, seed):
    world = World(cached, seed)
    for number in range(25):
        world.step()
        if not world.unfinished:
            assert looks(world.storage) == looks(world.plain), f"after step {number} of seed {seed}"
