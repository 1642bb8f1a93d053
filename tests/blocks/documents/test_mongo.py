"""Documents in a real MongoDB."""

import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from blocks.documents import mongo_past, mongo_search, mongo_server
from blocks.documents.mongo import MongoDocuments
from blocks.documents.mongo_past import MongoPast
from collectors.errors import Misconfigured, Rejected, Unreachable
from collectors.history import replaced
from collectors.testing.documents_contract import DocumentsContract, document, ids, saying
from collectors.testing.past_contract import PastContract, version
from deployments.dev_servers.kinds import MongoDb
from tests.freezing import freeze

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


class TestMongoPast(PastContract):
    @pytest.fixture
    def past(self, store):
        return MongoPast(store)


def test_what_was_kept_and_then_not_written_is_forgotten_once_the_record_is_replaced(store):
    first, lost = version(1, new=True), version(2)
    store.write([first])
    mongo_past.keep(store.database, replaced([first], [lost]))  # whoever was about to write it died
    store.write([version(3, content_hash=lost.content_hash)])
    past = MongoPast(store)
    past.forget(*KEY[:2], 4)
    assert [each.updated_at for each in past.versions(*KEY, ["1"])["1"]] == [3]


def test_no_command_forgets_very_many(store):
    for number in (1, 2):
        store.write([version(number, id=str(id), new=number == 1) for id in range(2_500)])
    store.database.command("profile", 2)
    MongoPast(store).forget(*KEY[:2], 3)
    removed = [each["ndeleted"] for each in store.database["system.profile"].find({"op": "remove"})]
    assert (sum(removed), max(removed)) == (2_500, 1_000)


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


def test_a_tenant_with_few_documents_holds_no_other_up(store, monkeypatch):
    monkeypatch.setattr(mongo_search.MongoSearch.enter, "__defaults__", (3,))
    store.write([saying("1", "退款", tenant="a", new=True)])
    store.write([saying(str(number), "退款", tenant="b", new=True) for number in range(3)])
    assert [store.make_searchable() for _ in range(2)] == [3, 0]


def test_what_is_gone_does_not_wait(store):
    store.write([saying("1", "退款", deleted=True, new=True), saying("2", "退款", deleted=True)])
    assert store._details.count_documents({"pending": True}) == 0


@pytest.mark.parametrize(("limit", "value"), [("VOLUME", 20), ("TERMS", 3)])
def test_very_much_text_takes_several_segments_or_groups(store, monkeypatch, limit, value):
    monkeypatch.setattr(mongo_search, limit, value)
    store.write([saying(str(number), "退款", [f"打开页面 open{number}"], new=True) for number in range(9)])
    store.reindex()
    assert store._details.count_documents({"pending": True}) == 0
    assert sorted(ids(store, "退款 页面 open")) == [str(number) for number in range(9)]
    assert ids(store, "open7") == ["7"]


def test_names_without_any_word_are_entered(store):
    store.write([saying("1", "-", new=True)])
    store.reindex()
    assert store._details.count_documents({"pending": True}) == 0


def test_while_documents_are_entered_each_of_them_is_found(store, documents_url, monkeypatch):
    monkeypatch.setattr(mongo_search, "SEGMENT", 10)
    wanted = sorted(str(number) for number in range(300))
    store.write([saying(id, "n", ["退款"], new=True) for id in wanted])
    other = MongoDocuments(documents_url)
    with ThreadPoolExecutor(1) as thread:
        entering = thread.submit(other.reindex)
        while not entering.done():
            assert sorted(ids(store, "退款", limit=1_000)) == wanted
        entering.result()
    other.close()


def test_of_several_loaders_one_enters_at_a_time(store, documents_url):
    store.write([saying(str(number), "退款", new=True) for number in range(600)])
    others = [MongoDocuments(documents_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(MongoDocuments.make_searchable, others)) == [0, 0, 0, 600]
    for each in others:
        each.close()


def test_documents_changed_while_they_are_entered_go_on_waiting(store, monkeypatch):
    gathered = mongo_search._gathered

    def meanwhile(found):
        found = list(found)
        store.write([saying("1", "付款", version="c")])
        return gathered(found)

    store.write([saying("1", "退款", new=True), saying("2", "退款", new=True)])
    monkeypatch.setattr(mongo_search, "_gathered", meanwhile)
    store.reindex()
    assert (ids(store, "退款"), ids(store, "付款")) == (["2"], ["1"])


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


def test_a_failure_that_is_not_about_the_data_refuses_none(store, documents_url):
    with MongoClient(documents_url) as client:
        client.get_default_database().command("create", "test_case_detail", viewOn="other", pipeline=[])
    with pytest.raises(OperationFailure):
        store.write([document()])


class Alone(MongoDb):
    def command(self):
        return [each for each in super().command() if each not in ("--replSet", "rs0")]

    def greet(self):
        with MongoClient(f"mongodb://127.0.0.1:{self.port}", directConnection=True) as client:
            client.admin.command("ping")


class NotInitiated(Alone):
    def command(self):
        return MongoDb.command(self)


@pytest.mark.parametrize("kind", [Alone, NotInitiated])
@pytest.mark.parametrize("options", ["", "?replicaSet=rs0"])
def test_a_server_that_is_no_replica_set_is_named(own_server, monkeypatch, kind, options):
    monkeypatch.setattr(mongo_server, "CONNECT_MILLISECONDS", 1_000)
    url = own_server(kind).server.url.partition("?")[0]
    store = MongoDocuments(url + options)
    with pytest.raises(Misconfigured, match="replSetInitiate"):
        store.write([document()])
    store.close()


def test_a_replica_set_of_another_name_is_named(documents_url, monkeypatch):
    monkeypatch.setattr(mongo_server, "CONNECT_MILLISECONDS", 1_000)
    store = MongoDocuments(documents_url.replace("rs0", "other"))
    with pytest.raises(Misconfigured) as error:
        store.write([document()])
    assert error.value.code == "COL-0641"
    store.close()


def test_a_server_that_is_away_is_unreachable_and_back_when_it_is(own_server, monkeypatch):
    monkeypatch.setattr(mongo_server, "CONNECT_MILLISECONDS", 500)
    monkeypatch.setattr(mongo_server, "ANSWER_MILLISECONDS", 1_000)
    server = own_server(MongoDb)
    store = MongoDocuments(server.server.url)
    store.write([document()])
    freeze(server.pid)
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
