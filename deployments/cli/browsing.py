"""`tree` and `export`: what was collected."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from blocks.settings import Settings
from blocks.storage import Storage, open_storage
from collectors.errors import Misconfigured
from deployments.cli.output import print_json, say


def tree(
    collection: str | None = None, *, depth: int | None = None, tenant: str = "default", json: bool = False
) -> int:
    """Show the directories of a collection and how many cases they hold, those below included.

    Parameters
    ----------
    collection
        name of the collection; may be left out when there is only one
    depth
        show this many levels
    tenant
        whose collection
    json
        print an array of the top directories, each with its children
    """
    with open_storage(Settings.load()) as storage:
        name = _only(storage, collection, tenant)
        top = _nested(storage, tenant, name)
    if json:
        print_json([_cut(node, depth) for node in top])
        return 0
    total = sum(node["cases"] for node in top)
    print(f"{name}  {total:,} cases")
    for line in _drawn(top, "", depth):
        print(line)
    return 0


def export(
    collection: str, *, format: Literal["jsonl"] = "jsonl", output: Path | None = None, tenant: str = "default"
) -> int:
    """Write every live record of a collection, one JSON object a line.

    Parameters
    ----------
    collection
        name of the collection
    format
        jsonl: one JSON object a line
    output
        a file instead of standard output
    tenant
        whose collection
    """
    with open_storage(Settings.load()) as storage:
        name = _only(storage, collection, tenant)
        if output is None:
            _write(storage, tenant, name, sys.stdout.buffer)
            return 0
        part = output.with_name(output.name + ".part")
        with part.open("wb") as file:
            count = _write(storage, tenant, name, file)
        part.replace(output)
    say(f"{count:,} records in {output}")
    return 0


def _write(storage: Storage, tenant: str, name: str, file: Any) -> int:
    count = 0
    for line in _lines(storage, tenant, name):
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    file.flush()
    return count


def _lines(storage: Storage, tenant: str, name: str) -> Iterator[dict[str, Any]]:
    for kind in ("directory", "case"):
        for rows in storage.rows.live(tenant, name, kind):
            details = storage.documents.read(tenant, name, kind, [row["id"] for row in rows])
            for row in rows:
                # A row whose document is not written yet is half a record: its batch is still under way.
                if row["id"] in details:
                    yield _line(kind, row, details[row["id"]])


def _line(kind: str, row: dict[str, Any], detail: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": row["id"],
        "parent_id": row["parent_id"],
        "path": row["path"],
        "name": row["name"],
        "content": detail.content,
        "metadata": detail.metadata,
        "version": row["version"],
        "content_hash": row["content_hash"],
        "deleted": bool(row["deleted"]),
    }


def _only(storage: Storage, name: str | None, tenant: str) -> str:
    """The collection meant: `name`, or the only one there is. Raises Misconfigured."""
    names = storage.catalog.collected(tenant)
    if name in names:
        return name
    if name is None and len(names) == 1:
        return names[0]
    have = f"Collected so far: {', '.join(names)}" if names else "Collect one with: collect run demo"
    raise Misconfigured("say which collection" if name is None else f"nothing was collected as {name!r}", have)


def _nested(storage: Storage, tenant: str, name: str) -> list[dict[str, Any]]:
    """The live directories as trees by name, each with the number of cases in and below it."""
    direct = storage.rows.cases_by_directory(tenant, name)
    rows = [row for chunk in storage.rows.live(tenant, name, "directory") for row in chunk]
    nodes = {
        row["id"]: {"id": row["id"], "name": row["name"], "path": row["path"], "cases": direct.get(row["id"], 0)}
        for row in rows
    }
    children: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        known = row["path"] is not None and row["parent_id"] in nodes
        children[row["parent_id"] if known else None].append(nodes[row["id"]])
    for row in sorted(rows, key=lambda row: -(row["level"] or 0)):
        node = nodes[row["id"]]
        node["children"] = sorted(children[row["id"]], key=lambda child: child["name"]) if row["path"] else []
        node["cases"] += sum(child["cases"] for child in node["children"])
    return sorted(children[None], key=lambda child: child["name"])


def _cut(node: dict[str, Any], depth: int | None) -> dict[str, Any]:
    deeper = None if depth is None else depth - 1
    return node | {"children": [] if deeper == 0 else [_cut(child, deeper) for child in node["children"]]}


def _drawn(nodes: list[dict[str, Any]], indent: str, depth: int | None) -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        lost = "" if node["path"] else "   (its parent is not there)"
        yield f"{indent}{'└─' if last else '├─'} {node['name']}   {node['cases']:,}{lost}"
        if depth is None or depth > 1:
            yield from _drawn(
                node["children"], indent + ("   " if last else "│  "), None if depth is None else depth - 1
            )
