"""A document as MongoDB keeps it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import DBRef, Int64

from collectors.models import Document

TYPES = {"directory": "DIRECTORY", "case": "CASE"}
KINDS = {type: kind for kind, type in TYPES.items()}
# What lacks some of it, somebody has damaged: it counts as not there, and is written anew.
WRITTEN = {
    *("tenant", "collection", "type", "id", "path", "name", "content", "metadata"),
    *("version", "contentHash", "deleted", "createTime", "updateTime"),
}
START = datetime(1970, 1, 1, tzinfo=UTC)


def key_of(tenant: str, collection: str, kind: str, id: str) -> str:
    """Unambiguous, since neither a tenant nor a collection holds a colon."""
    return f"{tenant}:{collection}:{kind}:{id}"


def _time(microseconds: int) -> datetime:
    return START + timedelta(microseconds=microseconds)


def stored(each: Document) -> dict[str, Any]:
    return {
        "_id": key_of(each.tenant, each.collection, each.kind, each.id),
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
        "parentId": each.parent_id,
        "batchId": each.batch_id,
        "updatedAt": Int64(each.updated_at),  # the same as updateTime, to the microsecond
    }


def document_of(found: dict[str, Any]) -> Document:
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
        parent_id=found.get("parentId"),
        batch_id=found.get("batchId", ""),
        updated_at=found.get("updatedAt", _microseconds(found["updateTime"])),
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
