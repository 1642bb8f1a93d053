"""A batch as a message and back: JSON, signed, so that only what a reader of ours has sent is applied.

The records carry their hashes: the far end neither validates nor hashes again what a signature vouches for.
"""

import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from collectors.errors import Rejected, Transient
from collectors.models import Batch, Record

SCHEMA = 1
FIELDS = set(Record.model_fields)
# What a batch says of its records.
BESIDE = ("collection", "run_id", "shard_id", "page", "observation", "arrived_at", "epoch")


class Message(NamedTuple):
    """What travels: the body, and beside it what has to be known before the body is read."""

    id: str | None
    headers: Mapping[str, Any]
    body: bytes


class Seal:
    """Signs with the first of its keys, and knows the signatures of all: so keys can be replaced one after another."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._signing = next(iter(self._keys))

    def closed(self, batch: Batch) -> Message:
        body = _written(batch)
        signature = self._signature(self._signing, batch.batch_id, batch.tenant, SCHEMA, body)
        headers = {"tenant": batch.tenant, "schema": SCHEMA, "key": self._signing, "signature": signature}
        return Message(batch.batch_id, headers, body)

    def opened(self, message: Message) -> Batch:
        """Raises Rejected when it is not ours or was changed, Transient when only a newer version can read it."""
        match message.headers:
            case {"tenant": str(tenant), "schema": int(schema), "key": str(key), "signature": str(signature)}:
                self._check(message, tenant, schema, key, signature)
            case _:
                raise Rejected("not-ours", "it bears no signature of a reader", code="COL-0680")
        if schema != SCHEMA:
            raise Transient("it is written in schema {schema}", code="COL-0683", schema=schema)
        return _read(tenant, message.body)

    def _check(self, message: Message, tenant: str, schema: int, key: str, signature: str) -> None:
        if key not in self._keys:
            raise Rejected("unknown-key", "its key is not known here: {key}", code="COL-0681", key=f"{key:.80}")
        expected = self._signature(key, message.id, tenant, schema, message.body)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Rejected("changed", "its signature does not fit what it holds", code="COL-0682")

    def _signature(self, key: str, id: str | None, tenant: str, schema: int, body: bytes) -> str:
        head = orjson.dumps([id, tenant, schema])
        return hmac.digest(self._keys[key], b"%d:%b%b" % (len(head), head, body), "sha256").hex()


def _written(batch: Batch) -> bytes:
    # A record's __dict__ is its fields and, once it was asked for, its hash; reading asks for the hash of each.
    records = [record.__dict__ for record in batch.records if record.content_hash]
    return orjson.dumps({name: getattr(batch, name) for name in BESIDE} | {"records": records})


def _read(tenant: str, body: bytes) -> Batch:
    values = orjson.loads(body)
    values["records"] = tuple([_record(each) for each in values["records"]])
    return Batch(tenant=tenant, **values)


def _record(values: dict[str, Any]) -> Record:
    """As unpickling makes it: a third of what validating costs, in what is done 15,000 times a second."""
    record = Record.__new__(Record)
    record.__setstate__(
        {
            "__dict__": values,
            "__pydantic_fields_set__": FIELDS,
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return record
