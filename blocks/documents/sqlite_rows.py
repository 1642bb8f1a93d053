"""A document as a row: what is compared in columns, everything else as JSON."""

from typing import Any

import orjson
from sqlalchemy import Table, and_

from collectors.models import Document

IN_THE_BODY = ("name", "content", "metadata", "parent_id", "batch_id", "created_at", "updated_at")


def row_of(each: Document) -> tuple[Any, ...]:
    """In the order of the columns of the table `document`."""
    body = orjson.dumps({name: getattr(each, name) for name in IN_THE_BODY}).decode()
    key = each.tenant, each.collection, each.kind, each.id
    return *key, each.version, each.deleted, each.content_hash, each.path, body


def document_of(row: Any) -> Document:
    fields = dict(row)
    return Document(**fields | orjson.loads(fields.pop("body")))


def of(table: Table, tenant: str, collection: str, *kind: str) -> Any:
    named = [table.c.kind == each for each in kind]
    return and_(table.c.tenant == tenant, table.c.collection == collection, *named)
