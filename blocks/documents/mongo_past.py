"""What documents were, and what trees looked like, in collections beside that of the documents."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from bson import Int64
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from blocks.documents.mongo_server import MongoServer
from blocks.documents.mongo_shapes import document_of, key_of, stored
from collectors.history import Kept, Snapshot
from collectors.models import Document

HISTORY, SNAPSHOTS, PARTS = "test_case_history", "test_case_snapshot", "test_case_snapshot_part"
CHUNK = 1000


def keep(database: Database[dict[str, Any]], versions: Sequence[Kept]) -> None:
    if versions:
        written = [_kept(each) for each in versions]
        database[HISTORY].bulk_write(written, ordered=False)
        _close(database[HISTORY], {_record_of(each.document) for each in versions})


def _close(history: Collection[dict[str, Any]], records: set[str]) -> None:
    """Of each record the newest version alone stays open: another one was kept and then not written, written again as
    it was, or overtaken by a newer one that was written at the same time."""
    is_open = {"record": {"$in": sorted(records)}, "until": None}
    found = history.find(is_open, {"record": 1, "updatedAt": 1}).sort([("record", 1), ("version", 1)])
    older = [
        UpdateOne({"_id": one["_id"]}, {"$set": {"until": following["updatedAt"]}})
        for one, following in pairwise(found)
        if one["record"] == following["record"]
    ]
    if older:
        history.bulk_write(older, ordered=False)


def _record_of(document: Document) -> str:
    return key_of(document.tenant, document.collection, document.kind, document.id)


def _kept(version: Kept) -> UpdateOne:
    """A version is kept once, and was replaced when the first one did it."""
    document, until = version
    record = _record_of(document)
    kept = stored(document) | {"_id": f"{record}@{document.version}", "record": record}
    # A literal: else MongoDB reads texts that begin with `$` as names of fields.
    once = {"$replaceWith": {"$cond": [{"$gt": ["$version", None]}, "$$ROOT", {"$literal": kept}]}}
    first = {"$set": {"until": {"$min": ["$until", None if until is None else Int64(until)]}}}
    return UpdateOne({"_id": kept["_id"]}, [once, first], upsert=True)


class MongoPast:
    """As its server raises what it raises."""

    def __init__(self, server: MongoServer) -> None:
        self._server = server

    def versions(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, list[Document]]:
        found: defaultdict[str, list[Document]] = defaultdict(list)
        keys = [key_of(tenant, collection, kind, id) for id in ids]
        with self._server.explained():
            for start in range(0, len(keys), CHUNK):
                some = {"record": {"$in": keys[start : start + CHUNK]}}
                for each in self._history.find(some).sort([("record", 1), ("version", 1)]):
                    found[each["id"]].append(document_of(each))
        return dict(found)

    def forget(self, tenant: str, collection: str, before: int) -> None:
        with self._server.explained():
            old = {"tenant": tenant, "collection": collection, "until": {"$ne": None, "$lt": Int64(before)}}
            while ids := [each["_id"] for each in self._history.find(old, {"_id": 1}).limit(CHUNK)]:
                self._history.delete_many({"_id": {"$in": ids}})

    # ---- trees -------------------------------------------------------------------------------------------

    def keep(self, tenant: str, collection: str, taken: Snapshot, parts: Sequence[bytes]) -> None:
        of = {"tenant": tenant, "collection": collection, "digest": taken.digest}
        noted = of | {"runId": taken.run_id, "takenAt": Int64(taken.taken_at)}
        with self._server.explained():
            for at, part in enumerate(parts):
                key = f"{tenant}:{collection}:{taken.digest}:{at}"
                written = {"$setOnInsert": of | {"part": at, "content": part}}
                self._parts.update_one({"_id": key}, written, upsert=True)
            key = f"{tenant}:{collection}:{taken.run_id}"
            self._snapshots.update_one({"_id": key}, {"$set": noted}, upsert=True)

    def snapshots(self, tenant: str, collection: str) -> list[Snapshot]:
        with self._server.explained():
            found = self._snapshots.find({"tenant": tenant, "collection": collection})
            return [_snapshot(each) for each in found.sort([("takenAt", 1), ("runId", 1)])]

    def parts(self, tenant: str, collection: str, taken: Snapshot) -> list[bytes]:
        with self._server.explained():
            found = self._parts.find({"tenant": tenant, "collection": collection, "digest": taken.digest})
            return [each["content"] for each in found.sort("part", 1)]

    def thin(self, tenant: str, collection: str, most: int) -> None:
        known = self.snapshots(tenant, collection)
        left, of = known[max(len(known) - most, 0) :], {"tenant": tenant, "collection": collection}
        gone = [each.run_id for each in known if each not in left]
        with self._server.explained():
            # What is kept names its parts last, so that these go last.
            self._snapshots.delete_many(of | {"runId": {"$in": gone}})
            self._parts.delete_many(of | {"digest": {"$nin": sorted({each.digest for each in left})}})

    # ---- the server ------------------------------------------------------------------------------------

    @cached_property
    def _history(self) -> Collection[dict[str, Any]]:
        found = self._server.database[HISTORY]
        found.create_index([("record", 1), ("version", 1)])
        found.create_index([("tenant", 1), ("collection", 1), ("until", 1)])
        return found

    @cached_property
    def _snapshots(self) -> Collection[dict[str, Any]]:
        found = self._server.database[SNAPSHOTS]
        found.create_index([("tenant", 1), ("collection", 1), ("takenAt", 1)])
        return found

    @cached_property
    def _parts(self) -> Collection[dict[str, Any]]:
        found = self._server.database[PARTS]
        found.create_index([("tenant", 1), ("collection", 1), ("digest", 1), ("part", 1)])
        return found


def _snapshot(found: dict[str, Any]) -> Snapshot:
    return Snapshot(found["runId"], found["takenAt"], found["digest"])
