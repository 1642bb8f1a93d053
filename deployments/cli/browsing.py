"""`tree` and `export`: what was collected."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.settings import Settings
from blocks.storage import Storage, open_storage
from collectors.errors import Misconfigured
from deployments.cli.output import print_json, say


def tree(
    collection: str | None = None,
    *,
    depth: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    tenant: str = "default",
    json: bool = False,
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
        total = storage.rows.count(tenant, name)["case"]
    if json:
        print_json([_cut(node, depth) for node in top])
        return 0
    print(f"{name}  {total:,} cases")
    for line in _drawn(top, "", depth):
        print(line)
    if lost := total - sum(node["cases"] for node in top):
        print(f"   {lost:,} cases in no directory")
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
        lines = _lines(storage, tenant, name)
        written, missing = _write(lines, sys.stdout.buffer) if output is None else _replace(lines, output)
    if output:
        say(f"{written:,} records in {output}")
    if missing:
        say(f"{missing:,} records are left out: their details are not stored yet; finish with: collect resume RUN")
    return 3 if missing else 0


def _replace(lines: Iterable[dict[str, Any] | None], output: Path) -> tuple[int, int]:
    """The file appears when it is whole, or not at all."""
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("wb") as file:
            counts = _write(lines, file)
        part.replace(output)
        return counts
    except OSError as error:
        raise Misconfigured(f"{output} cannot be written ({error.strerror})", "Name another file.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _write(lines: Iterable[dict[str, Any] | None], file: Any) -> tuple[int, int]:
    written = missing = 0
    for line in lines:
        if line is None:
            missing += 1
            continue
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        written += 1
    file.flush()
    return written, missing


def _lines(storage: Storage, tenant: str, name: str) -> Iterator[dict[str, Any] | None]:
    """All live records; None for one whose document is not the one its row speaks of: its batch is under way."""
    for kind in ("directory", "case"):
        for rows in storage.rows.live(tenant, name, kind):
            details = storage.documents.read(tenant, name, kind, [row["id"] for row in rows])
            for row in rows:
                detail = details.get(row["id"])
                yield _line(kind, row, detail) if detail and detail.content_hash == row["content_hash"] else None


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
