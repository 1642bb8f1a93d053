"""Messages: what comes out is what went in, and what was changed on the way does not come out."""

import pytest

from blocks.queues import messages
from blocks.queues.messages import Message, Seal
from collectors.errors import Rejected, Transient
from collectors.models import Record

KEYS = {"k1": b"the secret of the tests"}


@pytest.fixture
def seal():
    return Seal(KEYS)


@pytest.fixture
def batch(new_case, new_directory, new_batch):
    full = new_case("1", "2", content={"steps": ["一"]}, metadata={"tags": []}, source_version=2**63 - 1, deleted=True)
    return new_batch(full, new_directory("2"), observation=2**40, arrived_at=1_700_000_000_000_000)


def without(message, name):
    return message._replace(headers={key: value for key, value in message.headers.items() if key != name})


def refused(seal, message):
    with pytest.raises(Rejected) as raised:
        seal.opened(message)
    return raised.value.reason


def test_a_batch_comes_back_as_it_was(seal, batch):
    back = seal.opened(seal.closed(batch))
    assert back == batch
    assert back.batch_id == batch.batch_id
    assert [record.content_hash for record in back.records] == [record.content_hash for record in batch.records]


def test_records_come_back_with_their_hashes_and_as_if_they_had_been_validated(seal, batch):
    for back, sent in zip(seal.opened(seal.closed(batch)).records, batch.records, strict=True):
        assert back.__dict__["content_hash"] == sent.content_hash
        assert (back.model_dump(), repr(back)) == (sent.model_dump(), repr(sent))
        assert back.model_copy(update={"name": "other"}) == Record(**sent.model_dump() | {"name": "other"})
        with pytest.raises(ValueError, match="frozen"):
            back.name = "other"


def test_what_an_old_key_signed_is_opened_as_long_as_the_key_is_known(batch):
    old, new = {"old": b"old secret"}, {"new": b"new secret"}
    signed_before = Seal(old).closed(batch)
    assert Seal(new | old).opened(signed_before) == batch
    assert Seal(new | old).closed(batch).headers["key"] == "new"
    assert refused(Seal(new), signed_before) == "unknown-key"


@pytest.mark.parametrize("at", [0, 1, 100, -2, -1])
def test_a_body_with_one_byte_changed_is_refused(seal, batch, at):
    message = seal.closed(batch)
    body = bytearray(message.body)
    body[at] ^= 1
    assert refused(seal, message._replace(body=bytes(body))) == "changed"


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xfe"])
def test_another_body_is_refused(seal, batch, body):
    assert refused(seal, seal.closed(batch)._replace(body=body)) == "changed"


@pytest.mark.parametrize(
    "changed", [{"tenant": "other"}, {"schema": 0}, {"schema": 2}, {"signature": ""}, {"signature": "é"}]
)
def test_what_is_said_beside_the_body_is_signed_too(seal, batch, changed):
    message = seal.closed(batch)
    assert refused(seal, message._replace(headers=message.headers | changed)) == "changed"


@pytest.mark.parametrize("id", [None, "", "r1/s01/0.0/2"])
def test_a_message_under_another_id_is_refused(seal, batch, id):
    assert refused(seal, seal.closed(batch)._replace(id=id)) == "changed"


def test_a_signature_is_good_for_its_own_key_only(batch):
    signed = Seal({"a": b"1"}).closed(batch)
    assert refused(Seal({"b": b"2", "a": b"2"}), signed) == "changed"


@pytest.mark.parametrize("name", ["tenant", "schema", "key", "signature"])
def test_a_message_that_lacks_a_header_is_not_ours(seal, batch, name):
    assert refused(seal, without(seal.closed(batch), name)) == "not-ours"


@pytest.mark.parametrize("value", [None, 1.5, [], {"deep": []}, b"\xff"])
def test_a_header_of_another_kind_is_not_ours(seal, batch, value):
    message = seal.closed(batch)
    for name in message.headers:
        assert refused(seal, message._replace(headers=message.headers | {name: value})) == "not-ours"


def test_a_newer_schema_is_left_for_who_knows_it(seal, batch, monkeypatch):
    monkeypatch.setattr(messages, "SCHEMA", 2)
    newer = seal.closed(batch)
    monkeypatch.undo()
    with pytest.raises(Transient) as raised:
        seal.opened(newer)
    assert raised.value.code == "COL-0683"


def test_no_secret_stands_in_a_message_or_in_what_is_shown_of_it(seal, batch):
    secret = KEYS["k1"]
    message = seal.closed(batch)
    assert isinstance(message, Message)
    assert secret.decode() not in repr(message) + repr(seal)
