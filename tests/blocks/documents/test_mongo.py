"""Documents in a real MongoDB."""

import signal
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from blocks.documents import mongo, mongo_search
from blocks.documents.mongo import MongoDocuments
from collectors.errors import Misconfigured, Rejected, Unreachable
from collectors.testing.documents_contract import DocumentsContract, document, ids, saying
from deployments.dev_servers.kinds import MongoDb

KEY = ("default", "cases", "case")


@pytest.fixture
def store(documents_url):
    opened = MongoDocuments(documents_url)
    yield opened
    opened.close()


class Entered(MongoDocuments):
    """Whose documents are entered into the index of words as soon as they are written."""

    def write(self, documents):
        super().write(documents)
        self.reindex()


class TestMongoDocuments(DocumentsContract):
    pass


class TestMongoDocumentsWithAnIndex(DocumentsContract):
    @pytest.fixture
    def store(self, documents_url):
        opened = Entered(documents_url)
        yield opened
        opened.close()


# ---- the shape others rely on ------------------------------------------------------------------------------


def test_a_document_has_the_shape_people_expect(store):
    content = {"description": "d", "steps": ["s"], "expectedResults": ["e"]}
    store.write([document(content=content, metadata={"tags": ["t"], "priority": 1}, created_at=10**15, new=True)])
    found = store._details.find_one({"tenant": "default", "collection": "cases", "type": "CASE", "deleted": False})
    assert found["content"] == content
    assert (found["metadata"]["tags"], found["name"], found["path"], found["version"]) == (["t"], "n", "/n", "b")
    assert found["createTime"].isoformat() == "2001-09-09T01:46:40+00:00"


# ---- the index of words ------------------------------------------------------------------------------------


def test_documents_are_entered_when_enough_of_them_wait(store, monkeypatch):
    monkeypatch.setattr(mongo_search, "SEGMENT", 3)
    monkeypatch.setattr(mongo_search.MongoSearch.enter, "__defaults__", (3,))
    store.write([saying(str(number), "退款", new=True) for number in range(8)])
    assert [store.make_searchable() for _ in range(3)] == [3, 3, 0]
    assert sorted(ids(store, "退款")) == sorted(map(str, range(8)))


def test_a_document_that_is_written_again_is_found_by_its_new_text_only(store):
    store.write([saying("1", "退款", new=True)])
    store.reindex()
    store.write([saying("1", "付款", version="c")])
    assert (ids(store, "退款"), ids(store, "付款")) == ([], ["1"])
    store.reindex()
    assert (ids(store, "退款"), ids(store, "付款")) == ([], ["1"])


def test_tenants_with_the_same_words_do_not_see_each_other(store):
    store.write([saying("1", "退款", tenant="a"), saying("2", "退款", tenant="b")])
    store.reindex()
    assert (ids(store, "退款", "a"), ids(store, "退款", "b")) == (["1"], ["2"])


# ---- what is refused, and who is not there -----------------------------------------------------------------


def nested(levels):
    content = {}
    for _ in range(levels):
        content = {"a": content}
    return content


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("content", [{"text": "x" * (17 * 2**20)}, nested(250), {"number": 2**64}, {"text": "\ud800"}])
def test_what_mongodb_cannot_keep_is_refused(store, content, new):
    with pytest.raises(Rejected):
        store.write([document(content=content, new=new)])
    assert store.read(*KEY, ["1"]) == {}


def test_a_server_that_is_no_replica_set_is_named(own_server):
    class Alone(MongoDb):
        url = property(lambda self: f"mongodb://127.0.0.1:{self.port}/collect")

        def command(self):
            return [each for each in super().command() if each not in ("--replSet", "rs0")]

        def greet(self):
            with MongoClient(self.url, serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")

    store = MongoDocuments(own_server(Alone).server.url)
    with pytest.raises(Misconfigured, match="no replica set"):
        store.write([document()])
    store.close()


def test_a_server_that_is_away_is_unreachable_and_back_when_it_is(own_server, monkeypatch):
    monkeypatch.setattr(mongo, "CONNECT_MILLISECONDS", 500)
    monkeypatch.setattr(mongo, "ANSWER_MILLISECONDS", 1_000)
    server = own_server(MongoDb)
    store = MongoDocuments(server.server.url)
    store.write([document()])
    server.signal(signal.SIGSTOP)
    with pytest.raises(Unreachable, match=urlsplit(server.server.url).netloc):
        store.write([document("2")])
    server.signal(signal.SIGCONT)
    server.down(signal.SIGKILL)
    with pytest.raises(Unreachable):
        store.read(*KEY, ["1"])
    server.up()
    store.write([document("2")])
    assert store.read(*KEY, ["1", "2"]).keys() == {"1", "2"}
    store.close()


def test_a_password_is_never_said(documents_url):
    store = MongoDocuments(documents_url.replace("mongodb://", "mongodb://reader:secret-word@"))
    with pytest.raises(Misconfigured) as error:
        store.read(*KEY, ["1"])
    assert "secret-word" not in str(error.value)
    store.close()
