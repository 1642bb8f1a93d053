"""What people look at: a record in full, the tree of a collection, a search. From the cache, else from the stores."""

from collections.abc import Sequence
from typing import Any

from blocks.caches import written
from blocks.sql.rows import Rows
from collectors.caching import children_key, outline_key, record_key, search_key
from collectors.interfaces import Cache, Documents
from collectors.models import Hit, origin_of, parts_of
from collectors.trees import nested

SECONDS_OF_A_SEARCH = 60.0
MOST_HITS_KEPT = 1_000


class Views:
    def __init__(self, rows: Rows, documents: Documents, cache: Cache) -> None:
        self._rows, self._documents, self._cache = rows, documents, cache

    def records(self, tenant: str, id: str, places: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """The records of this id among (collection, kind)s; one whose document is not there yet has no content."""
        keys = {record_key(tenant, *place, id): place for place in places}

        def made(missing: Sequence[str]) -> dict[str, Any]:
            rows = {key: self._rows.of_id(tenant, *keys[key], id) for key in missing}
            return {key: self._record(keys[key][1], row) for key, row in rows.items() if row}

        found = written.read(self._cache, list(keys), made, kept=lambda record: record["content"] is not None)
        return list(found.values())

    def children(self, tenant: str, collection: str, ids: Sequence[str | None]) -> dict[str | None, dict[str, Any]]:
        """Of each directory (None: the top) the directories in it, and the number of cases."""
        keys = {children_key(tenant, collection, id): id for id in ids}

        def made(missing: Sequence[str]) -> dict[str, Any]:
            found = self._rows.children(tenant, collection, [keys[key] for key in missing])
            return {children_key(tenant, collection, id): children for id, children in found.items()}

        return {keys[key]: children for key, children in written.read(self._cache, list(keys), made).items()}

    def tree(self, tenant: str, collection: str) -> tuple[list[dict[str, Any]], int]:
        """All directories as trees, and how many cases there are, those in no directory included.

        Asked for is what stands in any directory, and in any that is only named as a parent: so what is lost or in a
        circle is found too, and a deep tree takes no longer than a wide one.
        """
        outline = self._outline(tenant, collection)
        children = self.children(tenant, collection, [None, *outline["parents"]])
        directories = [directory for each in children.values() for directory in each["directories"]]
        return nested(directories, {id: each["cases"] for id, each in children.items()}), outline["cases"]

    def search(
        self, tenant: str, query: str, collection: str | None, kind: str | None, under: str | None, limit: int
    ) -> list[Hit]:
        question = query, collection, kind, under, limit
        key = search_key(tenant, self._cache.generation(tenant), *question)

        def made(_: Sequence[str]) -> dict[str, list[Hit]]:
            return {key: self._documents.search(tenant, *question)}

        few = {"kept": lambda hits: len(hits) <= MOST_HITS_KEPT, "lasting": SECONDS_OF_A_SEARCH}
        hits = written.read(self._cache, [key], made, **few)[key]
        return [hit if isinstance(hit, Hit) else Hit(**hit) for hit in hits]

    def _outline(self, tenant: str, collection: str) -> dict[str, Any]:
        key = outline_key(tenant, collection)

        def made(_: Sequence[str]) -> dict[str, Any]:
            parents = sorted(self._rows.directories_and_parents(tenant, collection))
            return {key: {"parents": parents, "cases": self._rows.count(tenant, collection)["case"]}}

        return written.read(self._cache, [key], made)[key]

    def _record(self, kind: str, row: dict[str, Any]) -> dict[str, Any]:
        detail = self._documents.read(row["tenant"], row["collection"], kind, [row["id"]]).get(row["id"])
        current = detail is not None and detail.content_hash == row["content_hash"]
        epoch, source_version, observation = parts_of(row["version"])
        fields = ("tenant", "collection", "kind", "id", "parent_id", "path", "name")
        return {name: ({"kind": kind} | row)[name] for name in fields} | {
            "deleted": bool(row["deleted"]),
            "content": detail.content if current else None,
            "metadata": detail.metadata if current else None,
            "version": {"epoch": epoch, "source": source_version, "observation": observation, "text": row["version"]},
            "content_hash": row["content_hash"],
            "first": _origin(row["first_batch"], row["create_time"]),
            "last": _origin(row["last_batch"], row["update_time"]),
        }


def _origin(batch_id: str, at: int) -> dict[str, Any]:
    """Pages are counted from 1 for people; `at` is in microseconds since 1970."""
    run_id, shard_id, page, part, observation = origin_of(batch_id)
    return {
        "run_id": run_id,
        "shard_id": shard_id,
        "page": page + 1,
        "part": part + 1,
        "observation": observation,
        "at": at,
    }
