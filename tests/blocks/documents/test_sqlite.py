"""Documents: the newest version wins, a derived path is put right whatever the version."""

import pytest

from blocks.documents.sqlite import CHUNK, SqliteDocuments
from collectors.models import Document
from collectors.paths import Move, Place

KEY = ("default", "cases", "case")
RIGHT = Place("/right", 0)


@pytest.fixture
def store(details):
    return SqliteDocuments(details)


def document(id="1", version="b", **values):
    fields = {"tenant": "default", "collection": "cases", "kind": "case", "deleted": False, "name": "n", "path": "/n"}
    fields["content_hash"] = "0" * 64
    return Document(id=id, version=version, **fields | values)


def test_what_is_written_is_read(store):
    written = document(name="支付/“退款”\n", path=None, content={"steps": ["一", {"a": [1, None]}]}, metadata={"p": 1})
    store.write([written])
    assert store.read(*KEY, ["1"]) == {"1": written}


def test_a_newer_version_replaces_the_whole_document(store):
    newer = document(version="c", name="m", path="/m", deleted=True, content={"b": 2})
    store.write([document(content={"a": 1}, metadata={"x": 1})])
    store.write([newer])
    assert store.read(*KEY, ["1"]) == {"1": newer}


def test_an_older_version_changes_nothing(store, details, dump):
    store.write([document(content={"a": 1})])
    before = dump(details)
    store.write([document(version="a", name="old", path="/old", deleted=True)])
    assert dump(details) == before


def test_the_same_version_can_be_written_again(store):
    store.write([document()])
    store.write([document(path="/elsewhere")])
    assert store.read(*KEY, ["1"])["1"].path == "/elsewhere"


def test_an_older_document_among_newer_ones_holds_none_of_them_up(store):
    store.write([document("2", "m")])
    store.write([document("1"), document("2", "a", name="old"), document("3")])
    assert {id: each.name for id, each in store.read(*KEY, ["1", "2", "3"]).items()} == {"1": "n", "2": "n", "3": "n"}
    assert store.read(*KEY, ["2"])["2"].version == "m"


def test_only_documents_that_are_there_are_found(store):
    store.write([document("1")])
    assert store.read(*KEY, ["1", "2"]).keys() == {"1"}
    assert store.read(*KEY, []) == {}


def test_tenants_collections_and_kinds_are_kept_apart(store):
    others = [("other", "cases", "case"), ("default", "other", "case"), ("default", "cases", "directory")]
    for number, (tenant, collection, kind) in enumerate([KEY, *others]):
        store.write([document(tenant=tenant, collection=collection, kind=kind, name=str(number))])
    store.repath(*others[0], [Move("1", "/n", Place("/moved", 0))])
    found = [store.read(*key, ["1"])["1"] for key in (KEY, *others)]
    assert [(each.name, each.path) for each in found] == [("0", "/n"), ("1", "/moved"), ("2", "/n"), ("3", "/n")]


def test_more_than_one_chunk_is_read_and_put_right(store):
    ids = [f"{number:05}" for number in range(2 * CHUNK + 1)]
    store.write([document(id) for id in ids])
    store.repath(*KEY, [Move(id, "/n", Place(f"/{id}", 0)) for id in ids])
    assert {id: each.path for id, each in store.read(*KEY, ids).items()} == {id: f"/{id}" for id in ids}


def test_a_path_is_put_right_or_taken_away_whatever_the_version_and_nothing_else_changes(store):
    store.write([document("1", "z", content={"a": 1}), document("2", "z")])
    store.repath(*KEY, [Move("1", "/n", RIGHT), Move("2", "/n", None), Move("3", "/n", RIGHT)])
    found = store.read(*KEY, ["1", "2", "3"])
    assert found == {"1": document("1", "z", path="/right", content={"a": 1}), "2": document("2", "z", path=None)}


def test_after_a_path_is_put_right_the_next_version_still_wins(store):
    store.write([document("1", "b")])
    store.repath(*KEY, [Move("1", "/n", RIGHT)])
    store.write([document("1", "c", path="/later")])
    assert store.read(*KEY, ["1"])["1"].path == "/later"


def test_a_path_that_somebody_else_corrected_meanwhile_is_left_as_it_is(store):
    store.write([document(path="/newest")])
    store.repath(*KEY, [Move("1", "/n", RIGHT)])
    assert store.read(*KEY, ["1"])["1"].path == "/newest"
