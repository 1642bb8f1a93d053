"""What every store of documents has to keep; a test of one inherits it.

    class TestMine(DocumentsContract):
        @pytest.fixture
        def store(self): ...          # an empty store

It needs pytest and hypothesis.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.errors import Misconfigured
from collectors.models import Document
from collectors.paths import Move, Place

KEY = ("default", "cases", "case")
RIGHT = Place("/right", 0)
MANY = 1_000
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]  # one store for all examples of a test
SIMILAR = ["A1", "a1", "n1", "n1 ", "e", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}", "中", "1", "01"]
OPERATORS = [
    "AND",
    "NOT 退款",
    '"退款"',
    "退款*",
    "NEAR(退 款)",
    "name:退款",
    "^退款",
    "%款",
    "退_",
    "退款 OR 银河",
    "{退款}",
]
# An id of its own for each example: of a document that is changed an index may keep what it said.
NUMBERS = count()


def document(id="1", version="b", **values):
    fields = {"tenant": "default", "collection": "cases", "kind": "case", "deleted": False, "name": "n", "path": "/n"}
    fields["content_hash"] = "0" * 64
    return Document(id=id, version=version, **fields | values)


def saying(id="1", name="n", steps=(), version="b", **values):
    return document(id, version, **{"name": name, "path": f"/{name}", "content": {"steps": list(steps)}} | values)


def ids(store, query, tenant="default", **where):
    return [hit.id for hit in store.search(tenant, query, **where)]


class DocumentsContract:
    # ---- writing and reading -------------------------------------------------------------------------------

    def test_what_is_written_is_read(self, store):
        written = document(
            name="支付/“退款”\n", path=None, content={"steps": ["一", {"a": [1, None]}]}, metadata={"p": 1}
        )
        store.write([written])
        assert store.read(*KEY, ["1"]) == {"1": written}

    def test_a_newer_version_replaces_the_whole_document(self, store):
        newer = document(version="c", name="m", path="/m", deleted=True, content={"b": 2})
        store.write([document(content={"a": 1}, metadata={"x": 1})])
        store.write([newer])
        assert store.read(*KEY, ["1"]) == {"1": newer}

    def test_the_same_version_can_be_written_again(self, store):
        store.write([document()])
        store.write([document(path="/elsewhere")])
        assert store.read(*KEY, ["1"])["1"].path == "/elsewhere"

    def test_an_older_document_among_newer_ones_holds_none_of_them_up(self, store):
        store.write([document("2", "m")])
        store.write([document("1"), document("2", "a", name="old"), document("3")])
        assert {id: each.name for id, each in store.read(*KEY, ["1", "2", "3"]).items()} == {
            "1": "n",
            "2": "n",
            "3": "n",
        }
        assert store.read(*KEY, ["2"])["2"].version == "m"

    def test_only_documents_that_are_there_are_found(self, store):
        store.write([document("1")])
        assert store.read(*KEY, ["1", "2"]).keys() == {"1"}
        assert store.read(*KEY, []) == {}

    def test_tenants_collections_and_kinds_are_kept_apart(self, store):
        others = [("other", "cases", "case"), ("default", "other", "case"), ("default", "cases", "directory")]
        for number, (tenant, collection, kind) in enumerate([KEY, *others]):
            store.write([document(tenant=tenant, collection=collection, kind=kind, name=str(number))])
        store.repath(*others[0], [Move("1", "/n", Place("/moved", 0), "z")])
        found = [store.read(*key, ["1"])["1"] for key in (KEY, *others)]
        assert [(each.name, each.path) for each in found] == [("0", "/n"), ("1", "/moved"), ("2", "/n"), ("3", "/n")]

    def test_more_than_one_chunk_is_read_and_put_right(self, store):
        ids = [f"{number:05}" for number in range(2 * MANY + 1)]
        store.write([document(id) for id in ids])
        store.repath(*KEY, [Move(id, "/n", Place(f"/{id}", 0), "z") for id in ids])
        assert {id: each.path for id, each in store.read(*KEY, ids).items()} == {id: f"/{id}" for id in ids}

    def test_a_path_is_put_right_or_taken_away_and_nothing_else_changes(self, store):
        store.write([document("1", "z", content={"a": 1}), document("2", "z")])
        store.repath(*KEY, [Move("1", "/n", RIGHT, "z"), Move("2", "/n", None, "z"), Move("3", "/n", RIGHT, "z")])
        found = store.read(*KEY, ["1", "2", "3"])
        assert found == {"1": document("1", "z", path="/right", content={"a": 1}), "2": document("2", "z", path=None)}

    def test_after_a_path_is_put_right_the_next_version_still_wins(self, store):
        store.write([document("1", "b")])
        store.repath(*KEY, [Move("1", "/n", RIGHT, "b")])
        store.write([document("1", "c", path="/later")])
        assert store.read(*KEY, ["1"])["1"].path == "/later"

    def test_a_path_is_put_right_whatever_it_was_but_that_of_a_newer_document(self, store):
        store.write([document("1", "b", path="/anything"), document("2", "c", path="/newest")])
        store.repath(*KEY, [Move(id, "/n", RIGHT, "b") for id in "12"])
        assert [each.path for each in store.read(*KEY, ["1", "2"]).values()] == ["/right", "/newest"]

    def test_only_what_is_named_is_taken_away_and_it_is_not_found_any_more(self, store):
        store.write([saying("1", "gone"), saying("2", "kept"), saying("1", "kept", collection="other")])
        store.discard(*KEY, ["1", "nobody"])
        assert store.read(*KEY, ["1", "2"]).keys() == {"2"}
        assert store.read("default", "other", "case", ["1"]).keys() == {"1"}
        assert (ids(store, "gone"), sorted(ids(store, "kept"))) == ([], ["1", "2"])
        store.write([saying("1", "back", version="a")])
        assert ids(store, "back") == ["1"]

    def test_ids_that_look_alike_are_different_documents(self, store):
        store.write([document(id, name=f"of {id}") for id in SIMILAR])
        assert {id: each.name for id, each in store.read(*KEY, SIMILAR).items()} == {id: f"of {id}" for id in SIMILAR}

    @pytest.mark.parametrize("new", [True, False])
    @pytest.mark.parametrize("known", [True, False])
    def test_what_looks_like_a_command_is_kept_as_text(self, store, new, known):
        content = {"$where": "$name", "a.b": "$$ROOT", "$set": {"x": "$version"}, "": 1}
        if known:
            store.write([document(version="a")])
        store.write([document(name="$name", content=content, new=new)])
        assert store.read(*KEY, ["1"])["1"].content == content

    def test_values_keep_their_exact_form(self, store):
        values = [2**63 - 1, -(2**63), 0.1, 1e300, True, None, [], {}, "", "\N{GRINNING FACE}", "é", "e\u0301"]
        store.write([document(content={"values": values})])
        found = store.read(*KEY, ["1"])["1"].content["values"]
        assert [(type(each), each) for each in found] == [(type(each), each) for each in values]

    def test_what_looks_like_a_reference_is_read_as_it_was_written(self, store):
        content = {"schema": {"$ref": "#/a", "$id": 1, "more": [{"$ref": "b", "$id": None, "$db": "c"}, {"$ref": 5}]}}
        store.write([document(content=content, metadata=content)])
        found = store.read(*KEY, ["1"])["1"]
        assert (repr(found.content), repr(found.metadata)) == (repr(content), repr(content))

    @pytest.mark.parametrize("new", [True, False])
    def test_of_those_who_write_one_document_at_a_time_the_newest_wins(self, store, new):
        ids = [str(number) for number in range(50)]
        with ThreadPoolExecutor(4) as writers:
            writes = [[document(id, version, new=new) for id in ids] for version in "badc"]
            list(writers.map(store.write, writes))
        assert {each.version for each in store.read(*KEY, ids).values()} == {"d"}

    def test_what_was_said_to_be_new_and_is_not_is_guarded(self, store):
        store.write([document("1", "m", name="newest"), document("2", "a")])
        store.write([document("1", "b", new=True), document("2", "b", name="newer", new=True), document("3", new=True)])
        assert {id: each.name for id, each in store.read(*KEY, ["1", "2", "3"]).items()} == {
            "1": "newest", "2": "newer", "3": "n"
        }  # fmt: skip

    # ---- search --------------------------------------------------------------------------------------------

    def test_a_hit_says_where_it_is(self, store):
        store.write([saying("7", "付款", ["打开页面", "申请退款"], path="/支付/付款")])
        (hit,) = store.search("default", "退款")
        assert (hit.collection, hit.kind, hit.id, hit.path, hit.name) == ("cases", "case", "7", "/支付/付款", "付款")
        assert (hit.field, hit.snippet) == ("steps", "申请【退款】")

    @settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
    @given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0))
    def test_every_two_neighbouring_characters_beside_a_chinese_one_find_it(self, store, text, at):
        text = f"退{text}款"
        at %= len(text) - 1
        query = text[at : at + 2]
        id = str(next(NUMBERS))
        store.write([saying(id, "n", [text])])
        if not query.isascii() and not any(map(str.isspace, query)):
            assert id in ids(store, query, limit=1000)

    @settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
    @given(st.text(st.characters(codec="ascii")), st.text("abz019", min_size=1), st.sampled_from(["", "款"]))
    def test_every_word_and_its_beginnings_find_a_text(self, store, around, word, chinese):
        id = str(next(NUMBERS))
        store.write([saying(id, "n", [f"{around} {word} {around}{chinese}"])])
        for length in range(1, len(word) + 1):
            assert id in ids(store, word[:length].upper(), limit=1000)

    @pytest.mark.parametrize("query", OPERATORS)
    def test_a_query_is_data(self, store, query):
        store.write([saying("1", "申请退款 and 银河"), saying("2", f"说 {query} 的")])
        assert "2" in ids(store, query)
        assert ids(store, query) == ["2"] or query == "AND"

    @pytest.mark.parametrize("query", ["", " \t\n", '"', "%", "* - ()", "\0"])
    def test_a_query_without_anything_to_search_is_refused(self, store, query):
        store.write([saying("1", '" % * - ()')])
        with pytest.raises(Misconfigured) as error:
            store.search("default", query)
        assert error.value.code == "COL-0260"

    def test_one_chinese_character_and_one_letter_are_found(self, store):
        store.write([saying("1", "申请退款"), saying("2", "x", ["款"]), saying("3", "v 5")])
        assert ids(store, "款") == ["1", "2"]
        assert ids(store, "V") == ["3"]

    def test_more_words_begin_alike_than_are_named_one_by_one(self, store):
        store.write([saying(f"{n:03}", f"re{n:03} 款{chr(0x4E00 + n)}") for n in range(120)])
        for query in ("re", "款"):
            assert ids(store, query, limit=1000) == [f"{n:03}" for n in range(120)]

    def test_very_long_queries_are_compared_to_their_end(self, store):
        text = "".join(chr(0x4E00 + n) for n in range(3000))
        store.write([saying("1", "n", [text]), saying("2", "n", [text[:-1]])])
        assert ids(store, text) == ["1"]
        assert ids(store, " ".join(text)) == ["1"]

    def test_names_come_before_steps_and_are_counted_once(self, store):
        store.write([saying("1", "n", ["退款"]), saying("2", "退款", ["退款"]), saying("3", "失败", ["退款"])])
        assert ids(store, "退款") == ["2", "1", "3"]
        assert ids(store, "失败 退款") == ["3"]
        assert ids(store, "退款", limit=2) == ["2", "1"]

    def test_a_changed_record_is_found_by_its_new_text_only(self, store):
        store.write([saying("1", "退款", ["页面"]), saying("2", "n", ["页面"])])
        store.write([saying("1", "付款", ["退款", "refund"], version="c")])
        assert ids(store, "页面") == ["2"]
        (hit,) = store.search("default", "退款")
        assert (hit.id, hit.field) == ("1", "steps")
        assert ids(store, "付款") == ids(store, "Refund") == ["1"]

    def test_a_deleted_record_is_not_found_and_a_record_that_comes_back_is(self, store):
        store.write([saying("1", "退款"), saying("2", "退款", deleted=True)])
        store.write([saying("1", "退款", version="c", deleted=True)])
        assert ids(store, "退款") == []
        store.write([saying("1", "退款", version="d")])
        assert ids(store, "退款") == ["1"]

    def test_a_path_that_was_put_right_is_what_a_hit_says(self, store):
        store.write([saying("1", "退款", path=None)])
        store.repath("default", "cases", "case", [Move("1", None, Place("/支付/退款", 1), "z")])
        assert [hit.path for hit in store.search("default", "退款", under="/支付")] == ["/支付/退款"]

    def test_search_keeps_to_its_tenant_collection_kind_and_directory(self, store):
        store.write([saying("1", "退款", path="/a/b"), saying("2", "退款", path="/a"), saying("3", "退款", path="/ab")])
        store.write([saying("4", "退款", kind="directory"), saying("5", "退款", collection="other")])
        store.write([saying("6", "退款", tenant="theirs")])
        assert ids(store, "退款", limit=100) == ["1", "2", "3", "4", "5"]
        assert ids(store, "退款", tenant="theirs") == ["6"]
        assert ids(store, "退款", collection="other") == ["5"]
        assert ids(store, "退款", kind="directory") == ["4"]
        assert ids(store, "退款", under="/a") == ids(store, "退款", under="/a/") == ["1", "2"]
        assert ids(store, "退款", under="/%") == []

    @pytest.mark.parametrize("name", ["a\n", ".*", "a|b", "a$"])
    def test_a_directory_is_taken_by_its_exact_name(self, store, name):
        store.write([saying("1", "退款", path=f"/{name}"), saying("2", "退款", path=f"/{name}/b")])
        store.write([saying("3", "退款", path="/a"), saying("4", "退款", path="/ab"), saying("5", "退款", path=None)])
        assert sorted(ids(store, "退款", under=f"/{name}")) == ["1", "2"]
        assert sorted(ids(store, "退款", under="/a")) == ["3"]
        assert sorted(ids(store, "退款", under="/")) == ["1", "2", "3", "4"]

    def test_words_that_only_begin_alike_are_told_apart(self, store):
        store.write([saying("1", "open account"), saying("2", "n", ["opera accountant"])])
        assert ids(store, "opera") == ids(store, "accountant") == ["2"]
        assert ids(store, "op acc") == ["1", "2"]

    def test_documents_of_several_kinds_and_orders_in_one_write_are_all_found(self, store):
        store.write([saying(id, f"旧{id}") for id in "123"])
        mixed = [
            saying("3", "新三", version="c"),
            saying("9", "新九", kind="directory"),
            saying("1", "新一", version="c"),
        ]
        store.write(mixed)
        assert sorted(ids(store, "新")) == ["1", "3", "9"]
        assert ids(store, "旧") == ["2"]
