"""What every store of what was has to keep, beside the documents that are replaced; a test of one inherits it.

    class TestMine(PastContract):
        @pytest.fixture
        def store(self): ...          # an empty store of documents

        @pytest.fixture
        def past(self, store): ...    # what its documents were

It needs pytest.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from collectors.history import Snapshot
from collectors.testing.documents_contract import KEY, document

OF = KEY[:2]


def version(number, **values):
    """A document as it was written at that microsecond."""
    fields = {"content_hash": f"{number:064}", "content": {"said": number}, "updated_at": number}
    return document(version=f"{number:036}", **fields | values)


def kept(past, id="1"):
    return [each.updated_at for each in past.versions(*KEY, [id]).get(id, [])]


class PastContract:
    # ---- versions ------------------------------------------------------------------------------------------

    def test_what_was_never_replaced_costs_nothing(self, store, past):
        store.write([version(1, new=True)])
        assert past.versions(*KEY, ["1"]) == {}

    def test_each_version_that_was_replaced_is_kept_as_it_was(self, store, past):
        first = version(1, name="支付/“退款”", path="/a", parent_id="7", batch_id="run/1/0.0/1", metadata={"$ref": "x"})
        second = version(2, deleted=True, content={"$id": [1, None]}, path=None)
        for each in (replace(first, new=True), second, version(3)):
            store.write([each])
        assert past.versions(*KEY, ["1"])["1"][:2] == [first, second]
        assert kept(past) == [1, 2, 3]

    def test_the_same_again_is_no_change(self, store, past):
        store.write([version(1, new=True)])
        store.write([version(1)])
        store.write([version(2, content_hash=version(1).content_hash)])
        assert past.versions(*KEY, ["1"]) == {}

    def test_a_write_that_is_repeated_is_kept_once(self, store, past):
        store.write([version(1, new=True)])
        for _ in range(2):
            store.write([version(2)])
        assert kept(past) == [1, 2]

    def test_a_version_that_comes_late_is_kept_as_well(self, store, past):
        store.write([version(1, new=True)])
        store.write([version(3)])
        store.write([version(2)])
        assert kept(past) == [1, 2, 3]
        assert store.read(*KEY, ["1"])["1"].updated_at == 3

    def test_a_first_version_that_comes_late_is_kept_as_well(self, store, past):
        store.write([version(2)])
        store.write([version(1, new=True)])
        assert kept(past) == [1, 2]

    def test_of_versions_that_are_written_at_once_each_is_kept(self, store, past):
        store.write([version(1, new=True)])
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(store.write, [[version(number)] for number in range(2, 22)]))
        assert kept(past) == list(range(1, 22))

    def test_kinds_collections_and_tenants_are_kept_apart(self, store, past):
        others = ({"tenant": "b"}, {"collection": "b"}, {"kind": "directory"}, {"id": "2"})
        for number in (1, 2):
            store.write([version(number, **{"new": number == 1} | other) for other in others])
        assert past.versions(*KEY, ["1"]) == {}
        assert kept(past, "2") == [1, 2]

    def test_many_are_asked_for_at_once(self, store, past):
        ids = [str(number) for number in range(2_500)]
        for number in (1, 2):
            store.write([version(number, id=id, new=number == 1) for id in ids])
        assert past.versions(*KEY, ids).keys() == set(ids)

    def test_what_was_replaced_long_ago_is_forgotten(self, store, past):
        for number in (1, 2, 30, 40):
            store.write([version(number, new=number == 1)])
        past.forget(*OF, 30)
        assert kept(past) == [2, 30, 40]
        past.forget("other", "cases", 100)
        past.forget("default", "other", 100)
        assert kept(past) == [2, 30, 40]

    def test_of_very_many_all_that_is_old_is_forgotten(self, store, past):
        ids = [str(number) for number in range(2_500)]
        for number in (1, 20):
            store.write([version(number, id=id, new=number == 1) for id in ids])
        past.forget(*OF, 21)
        assert {len(each) for each in past.versions(*KEY, ids).values()} == {1}

    def test_what_was_written_again_as_it_was_is_forgotten_once_it_is_replaced(self, store, past):
        same = version(2).content_hash
        for each in (version(1, new=True), version(2), version(3, content_hash=same), version(40)):
            store.write([each])
        past.forget(*OF, 41)
        assert kept(past) == [40]

    def test_of_versions_that_are_written_at_once_the_newest_alone_stays(self, store, past):
        store.write([version(1, new=True)])
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(store.write, [[version(number)] for number in range(2, 22)]))
        past.forget(*OF, 22)
        assert kept(past) == [21]

    # ---- trees ---------------------------------------------------------------------------------------------

    def test_a_tree_is_kept_as_it_was(self, past):
        taken = Snapshot("r1", 10, "d1")
        past.keep(*OF, taken, [b"one", b"\x00two"])
        assert past.snapshots(*OF) == [taken]
        assert past.parts(*OF, taken) == [b"one", b"\x00two"]

    def test_an_equal_tree_is_kept_once_and_by_whoever_comes_first(self, past):
        one, other = Snapshot("r1", 10, "d1"), Snapshot("r2", 20, "d1")
        past.keep(*OF, one, [b"one"])
        past.keep(*OF, one, [b"one"])
        past.keep(*OF, other, [])
        assert past.snapshots(*OF) == [one, other]
        assert past.parts(*OF, other) == [b"one"]

    def test_a_run_that_goes_on_leaves_another_tree(self, past):
        past.keep(*OF, Snapshot("r1", 10, "d1"), [b"one"])
        past.keep(*OF, later := Snapshot("r1", 20, "d2"), [b"other"])
        assert past.snapshots(*OF) == [later]
        assert past.parts(*OF, later) == [b"other"]

    def test_the_newest_trees_stay_with_their_parts(self, past):
        trees = [Snapshot(f"r{number}", number, f"d{min(number, 3)}") for number in range(1, 6)]
        for tree in trees:
            past.keep(*OF, tree, [tree.digest.encode()])
        past.keep("other", "cases", trees[0], [b"other"])
        past.thin(*OF, 2)
        assert past.snapshots(*OF) == trees[3:]
        assert past.parts(*OF, trees[4]) == [b"d3"]
        assert past.parts(*OF, trees[0]) == []
        assert past.parts("other", "cases", trees[0]) == [b"other"]
        past.thin(*OF, 0)
        assert past.snapshots(*OF) == past.parts(*OF, trees[4]) == []
