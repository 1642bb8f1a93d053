"""Documents in MongoDB: what is new is inserted, everything else replaced only where it is not newer already."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any

import pymongo
from bson import DBRef, Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from blocks.documents.mongo_failures import FAILURES, duplicates, meaning, no_replica_set
from blocks.documents.mongo_search import MongoSearch
from collectors.models import Document, Hit
from collectors.paths import Move

DETAILS, WORDS = "test_case_detail", "test_case_words"
TYPES = {"directory": "DIRECTORY", "case": "CASE"}
KINDS = {type: kind for kind, type in TYPES.items()}
CONNECT_MILLISECONDS = 3_000
ANSWER_MILLISECONDS = 10_000
CHUNK = 1000
# What lacks some of it, somebody has damaged: it counts as not there, and is written anew.
WRITTEN = {
    *("tenant", "collection", "type", "id", "path", "name", "content", "metadata"),
    *("version", "contentHash", "deleted", "createTime", "updateTime"),
}
START = datetime(1970, 1, 1, tzinfo=UTC)


class _PlainInteger(TypeDecoder):
    """A long integer comes back as the type it was."""

    bson_type = Int64

    def transform_bson(self, value: Int64) -> int:
        return int(value)


class MongoDocuments:
    """The database that `url` names in its path, on a replica set.

    Whatever uses it raises Unreachable when no primary answers in time, Misconfigured when it does not let us in or is
    no replica set, Rejected when it refuses the data.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.server = _shown(url)

    def write(self, documents: Sequence[Document]) -> None:
        with self._explained():
            late = self._inserted([each for each in documents if each.new])
            guarded = [_guarded(each) for each in documents if not each.new or _key(each) in late]
            if guarded:
                self._details.bulk_write(guarded, ordered=False)

    def read(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, Document]:
        keys = [_id(tenant, collection, kind, id) for id in ids]
        with self._explained():
            parts = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
            found = chain.from_iterable(self._details.find({"_id": {"$in": some}}) for some in parts)
            return {each["id"]: _document(each) for each in found if each.keys() >= WRITTEN}

    def repath(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        updates = [
            UpdateOne(
                {"_id": _id(tenant, collection, kind, move.id), "path": move.found},
                {"$set": {"path": move.place and move.place.path}},
            )
            for move in moves
        ]
        with self._explained():
            for start in range(0, len(updates), CHUNK):
                self._details.bulk_write(updates[start : start + CHUNK], ordered=False)

    def discard(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> None:
        with self._explained():
            for start in range(0, len(ids), CHUNK):
                some = [_id(tenant, collection, kind, id) for id in ids[start : start + CHUNK]]
                self._details.delete_many({"_id": {"$in": some}})

    def search(
        self,
        tenant: str,
        query: str,
        collection: str | None = None,
        kind: str | None = None,
        under: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        where = {"tenant": tenant, "collection": collection, "type": kind and TYPES[kind]}
        with self._explained():
            found = self._search.search(query, where, under, limit)
            return [
                Hit(each["collection"], KINDS[each["type"]], each["id"], each["path"], each["name"], *hit)
                for each, hit in found
            ]

    def reindex(self) -> None:
        with self._explained():
            self._search.renew()

    def marks(
        self, tenant: str, collection: str, kind: str, after: str, last: str | None
    ) -> dict[str, tuple[str, bool]]:
        start, end = _id(tenant, collection, kind, after), _id(tenant, collection, kind, last or "")
        # Without a last one: as far as anything begins so; a semicolon follows the colon.
        until = {"$lte": end} if last is not None else {"$lt": f"{end[:-1]};"}
        with self._explained():
            found = self._details.find({"_id": {"$gt": start} | until}, {"id": 1, "contentHash": 1, "deleted": 1})
            return {each["id"]: (each.get("contentHash", ""), each.get("deleted", False)) for each in found}

    def make_searchable(self) -> int:
        """Enter what waits into the index of words, if it is much; answers how many documents that were."""
        with self._explained():
            return self._search.enter()

    def check(self) -> str:
        """The server's version, and its replica set."""
        with self._explained():
            name = self._database.command("hello")["setName"]
            return f"{self._client.server_info()['version']}, replica set {name}"

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    # ---- the server ------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> MongoClient:
        return MongoClient(
            self.url,
            w="majority",
            journal=True,
            retryWrites=False,  # every write may be repeated, and whoever called does so
            timeoutMS=ANSWER_MILLISECONDS,
            readPreference="primary",  # whoever caches what is read must not read what was
            connectTimeoutMS=CONNECT_MILLISECONDS,
            tz_aware=True,
            type_registry=TypeRegistry([_PlainInteger()]),
        )

    @cached_property
    def _database(self) -> Database[dict[str, Any]]:
        with pymongo.timeout(CONNECT_MILLISECONDS / 1000):
            answer = self._client.admin.command("hello")
        if "setName" not in answer:
            raise no_replica_set(self.server)
        return self._client.get_default_database()

    @cached_property
    def _search(self) -> MongoSearch:
        return MongoSearch(self._database[DETAILS], self._database[WORDS])

    @property
    def _details(self) -> Collection[dict[str, Any]]:
        return self._search.details

    def _inserted(self, documents: Sequence[Document]) -> set[tuple[str, str]]:
        """Insert what should be new; answers the (kind, id) of those that are there already."""
        if not documents:
            return set()
        try:
            self._details.insert_many([_stored(each) for each in documents], ordered=False)
            return set()
        except BulkWriteError as error:
            if (places := duplicates(error)) is None:
                raise
            return {_key(documents[at]) for at in places}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            topology = self._client.topology_description if "_client" in self.__dict__ else None
            raise meaning(error, self.server, topology) or error from error


def _shown(url: str) -> str:
    """Host and database."""
    return url.partition("://")[2].partition("?")[0].rpartition("@")[2]


def _key(document: Document) -> tuple[str, str]:
    return document.kind, document.id


def _id(tenant: str, collection: str, kind: str, id: str) -> str:
    """Unambiguous, since neither a tenant nor a collection holds a colon."""
    return f"{tenant}:{collection}:{kind}:{id}"


def _time(microseconds: int) -> datetime:
    return START + timedelta(microseconds=microseconds)


def _stored(each: Document) -> dict[str, Any]:
    stored = {
        "_id": _id(each.tenant, each.collection, each.kind, each.id),
        "tenant": each.tenant,
        "collection": each.collection,
        "type": TYPES[each.kind],
        "id": each.id,
        "path": each.path,
        "name": each.name,
        "content": each.content,
        "metadata": each.metadata,
        "version": each.version,
        "contentHash": each.content_hash,
        "deleted": each.deleted,
        "createTime": _time(each.created_at),
        "updateTime": _time(each.updated_at),
    }
    return stored if each.deleted else stored | {"pending": True}


def _guarded(each: Document) -> UpdateOne:
    document = _stored(each)
    # A literal: else MongoDB reads texts that begin with `$` as names of fields.
    replaced = {"$cond": [{"$gte": [each.version, "$version"]}, {"$literal": document}, "$$ROOT"]}
    return UpdateOne({"_id": document["_id"]}, [{"$replaceWith": replaced}], upsert=True)


def _document(found: dict[str, Any]) -> Document:
    return Document(
        tenant=found["tenant"],
        collection=found["collection"],
        kind=KINDS[found["type"]],
        id=found["id"],
        version=found["version"],
        deleted=found["deleted"],
        content_hash=found["contentHash"],
        name=found["name"],
        path=found["path"],
        content=_plain(found["content"]),
        metadata=_plain(found["metadata"]),
        created_at=_microseconds(found["createTime"]),
        updated_at=_microseconds(found["updateTime"]),
    )


def _plain(value: Any) -> Any:
    """Objects with a `$ref` and an `$id` are read as references, and were none when they were written."""
    match value:
        case DBRef():
            return _plain(dict(value.as_doc()))
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
    return value


def _microseconds(moment: datetime) -> int:
    return (moment - START) // timedelta(microseconds=1)
