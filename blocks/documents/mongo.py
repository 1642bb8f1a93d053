"""Documents in MongoDB: what is new is inserted, everything else replaced only where it is not newer already."""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from blocks.documents.mongo_failures import duplicates
from blocks.documents.mongo_past import keep
from blocks.documents.mongo_search import MongoSearch
from blocks.documents.mongo_server import MongoServer
from blocks.documents.mongo_shapes import KINDS, TYPES, WRITTEN, document_of, key_of, stored
from collectors.history import replaced
from collectors.models import Document, Hit
from collectors.paths import Move

DETAILS, WORDS = "test_case_detail", "test_case_words"
CHUNK = 1000


class MongoDocuments(MongoServer):
    """The full detail of records in one collection of the database."""

    def write(self, documents: Sequence[Document]) -> None:
        with self.explained():
            late = self._inserted([each for each in documents if each.new])
            known = [each for each in documents if not each.new or _key(each) in late]
            if known:
                self._keep_replaced(known)
                self._details.bulk_write([_guarded(each) for each in known], ordered=False)

    def read(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, Document]:
        keys = [key_of(tenant, collection, kind, id) for id in ids]
        with self.explained():
            parts = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
            found = chain.from_iterable(self._details.find({"_id": {"$in": some}}) for some in parts)
            return {each["id"]: document_of(each) for each in found if each.keys() >= WRITTEN}

    def repath(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        updates = [
            UpdateOne(
                {"_id": key_of(tenant, collection, kind, move.id), "version": {"$lte": move.version}},
                {"$set": {"path": move.place and move.place.path}},
            )
            for move in moves
        ]
        with self.explained():
            for start in range(0, len(updates), CHUNK):
                self._details.bulk_write(updates[start : start + CHUNK], ordered=False)

    def discard(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> None:
        with self.explained():
            for start in range(0, len(ids), CHUNK):
                some = [key_of(tenant, collection, kind, id) for id in ids[start : start + CHUNK]]
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
        with self.explained():
            found = self._search.search(query, where, under, limit)
            return [
                Hit(each["collection"], KINDS[each["type"]], each["id"], each["path"], each["name"], *hit)
                for each, hit in found
            ]

    def reindex(self) -> None:
        with self.explained():
            self._search.renew()

    def marks(
        self, tenant: str, collection: str, kind: str, after: str, last: str | None
    ) -> dict[str, tuple[str, bool]]:
        start, end = key_of(tenant, collection, kind, after), key_of(tenant, collection, kind, last or "")
        # Without a last one: as far as anything begins so; a semicolon follows the colon.
        until = {"$lte": end} if last is not None else {"$lt": f"{end[:-1]};"}
        with self.explained():
            found = self._details.find({"_id": {"$gt": start} | until}, {"id": 1, "contentHash": 1, "deleted": 1})
            return {each["id"]: (each.get("contentHash", ""), each.get("deleted", False)) for each in found}

    def make_searchable(self) -> int:
        """Enter what waits into the index of words, if it is much; answers how many documents that were."""
        with self.explained():
            return self._search.enter()

    @cached_property
    def _search(self) -> MongoSearch:
        return MongoSearch(self.database[DETAILS], self.database[WORDS])

    @property
    def _details(self) -> Collection[dict[str, Any]]:
        return self._search.details

    def _keep_replaced(self, documents: Sequence[Document]) -> None:
        keys = [key_of(each.tenant, each.collection, each.kind, each.id) for each in documents]
        found = self._details.find({"_id": {"$in": keys}})
        keep(self.database, replaced([document_of(each) for each in found if each.keys() >= WRITTEN], documents))

    def _inserted(self, documents: Sequence[Document]) -> set[tuple[str, str]]:
        """Insert what should be new; answers the (kind, id) of those that are there already."""
        if not documents:
            return set()
        try:
            self._details.insert_many([_pending(each) for each in documents], ordered=False)
            return set()
        except BulkWriteError as error:
            if (places := duplicates(error)) is None:
                raise
            return {_key(documents[at]) for at in places}


def _key(document: Document) -> tuple[str, str]:
    return document.kind, document.id


def _pending(each: Document) -> dict[str, Any]:
    """What is live waits to be entered into the index of words."""
    return stored(each) if each.deleted else stored(each) | {"pending": True}


def _guarded(each: Document) -> UpdateOne:
    document = _pending(each)
    # A literal: else MongoDB reads texts that begin with `$` as names of fields.
    replaced = {"$cond": [{"$gte": [each.version, "$version"]}, {"$literal": document}, "$$ROOT"]}
    return UpdateOne({"_id": document["_id"]}, [{"$replaceWith": replaced}], upsert=True)
