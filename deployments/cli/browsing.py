"""`tree` and `export`: what was collected."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.settings import Settings
from blocks.storage import Storage, open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from deployments.cli.output import print_json, say, show

# JSON of more levels than this, two brackets each, is refused by many readers; nobody reads a picture of it.
DEEPEST = 100
LEFT_OUT = "{count} directories below level {deepest} are left out; collect export has all"
MISSING = "{count} records are left out: their details are not stored yet; finish with: collect resume RUN"
NO_PARENT = "its parent is not there"
IN_A_CIRCLE = "its parents form a circle"


def tree(
    collection: str | None = None,
    *,
    depth: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show the directories of a collection and how many cases they hold, those below included.

    Examples
        $ collect tree demo --depth 2
        $ collect tree demo --json

    Parameters
    ----------
    collection
        name of the collection; may be left out when there is only one
    depth
        show this many levels; 100 is the most
    tenant
        whose collection
    json
        print an array of the top directories, each with its children; `cut` counts those left out below
    """
    with open_storage(Settings.load()) as storage:
        name = _only(storage, collection, tenant)
        top = _nested(storage, tenant, name)
        total = storage.rows.count(tenant, name)["case"]
    if (left_out := _cut(top, min(depth or DEEPEST, DEEPEST))) and (depth or DEEPEST) >= DEEPEST:
        say(LEFT_OUT, count=f"{left_out:,}", deepest=DEEPEST)
    if json:
        print_json(top)
        return 0
    show(f"{name}  {total:,} cases")
    for line in _drawn(top):
        show(line)
    if lost := total - sum(node["cases"] for node in top):
        show(f"   {lost:,} cases in no directory")
    return 0


def export(
    collection: str, *, format: Literal["jsonl"] = "jsonl", output: Path | None = None, tenant: str = "default"
) -> int:
    """Write every live record of a collection, one JSON object a line.

    Examples
        $ collect export demo
        $ collect export demo --output demo.jsonl

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
        say("{count} records in {path}", count=f"{written:,}", path=output)
    if missing:
        say(MISSING, count=f"{missing:,}")
    return 3 if missing else 0


def _replace(lines: Iterable[dict[str, Any] | None], output: Path) -> tuple[int, int]:
    """A file appears when it is whole, or not at all; devices, pipes and links are written as they are."""
    try:
        if output.is_symlink() or (output.exists() and not output.is_file()):
            with output.open("wb") as file:
                return _write(lines, file)
        return _replace_file(lines, output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Misconfigured(
            "{path} cannot be written ({why})",
            "Name another file.",
            code="COL-0225",
            path=str(output),
            why=error.strerror,
        ) from error


def _replace_file(lines: Iterable[dict[str, Any] | None], output: Path) -> tuple[int, int]:
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            counts = _write(lines, file)
        part.replace(output)
        return counts
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
    have = "Collected so far: {names}" if names else "Collect one with: collect run demo"
    facts = {"names": ", ".join(names), "name": name}
    if name is None:
        raise Misconfigured("say which collection", have, code="COL-0226", **facts)
    raise Misconfigured("nothing was collected as {name!r}", have, code="COL-0228", **facts)


def _nested(storage: Storage, tenant: str, name: str) -> list[dict[str, Any]]:
    """The live directories as trees by name, each with the number of cases in and below it; each stands there once.

    One that hangs nowhere is at the top, with the reason as `lost`; of a circle it is the first by name.
    """
    direct = storage.rows.cases_by_directory(tenant, name)
    rows = {row["id"]: row for chunk in storage.rows.live(tenant, name, "directory") for row in chunk}
    by_name = sorted(rows.values(), key=lambda row: (row["name"], row["id"]))
    nodes = {
        row["id"]: {
            "id": row["id"], "name": row["name"], "path": row["path"], "cases": direct.get(row["id"], 0), "children": []
        }
        for row in by_name
    }  # fmt: skip
    parents = {id: row["parent_id"] for id, row in rows.items() if row["parent_id"] in nodes}
    for id in _closing_circles(list(nodes), parents):
        del parents[id]
        nodes[id]["lost"] = IN_A_CIRCLE
    for id, node in nodes.items():
        if id in parents:
            nodes[parents[id]]["children"].append(node)
        elif not node["path"]:
            node.setdefault("lost", NO_PARENT)
    top = [node for id, node in nodes.items() if id not in parents]
    for node, _ in reversed(list(_walked(top))):
        node["cases"] += sum(child["cases"] for child in node["children"])
    return top


def _closing_circles(ids: Sequence[str], parents: Mapping[str, str]) -> list[str]:
    """One of each circle of parents: the first in `ids`."""
    order = {id: number for number, id in enumerate(ids)}
    seen: set[str] = set()
    found = []
    for id in ids:
        climbed: dict[str, None] = {}
        while id in parents and id not in seen:
            seen.add(id)
            climbed[id] = None
            id = parents[id]
        if id in climbed:
            circle = list(climbed)
            found.append(min(circle[circle.index(id) :], key=order.__getitem__))
    return found


def _walked(top: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    """All nodes from above, siblings in their order, each with its level (1: the top)."""
    left = [(node, 1) for node in reversed(top)]
    while left:
        node, level = left.pop()
        yield node, level
        left += [(child, level + 1) for child in reversed(node["children"])]


def _cut(top: Sequence[dict[str, Any]], depth: int) -> int:
    """Take away what is below `depth` levels, and note at each node as `cut` how much that was. Returns the sum."""
    below: dict[str, int] = {}
    nodes = list(_walked(top))
    for node, _ in reversed(nodes):
        below[node["id"]] = sum(1 + below[child["id"]] for child in node["children"])
    lowest = [node for node, level in nodes if level == depth and node["children"]]
    for node in lowest:
        node["cut"], node["children"] = below[node["id"]], []
    return sum(node["cut"] for node in lowest)


def _drawn(top: Sequence[dict[str, Any]]) -> Iterator[str]:
    left = [(node, "", node is top[-1]) for node in reversed(top)]
    while left:
        node, indent, last = left.pop()
        why = node.get("lost")
        lost = f"   ({spoken(why)})" if why else ""
        cut = "   …" if "cut" in node else ""
        yield f"{indent}{'└─' if last else '├─'} {node['name']}   {node['cases']:,}{lost}{cut}"
        deeper = indent + ("   " if last else "│  ")
        left += [(child, deeper, child is node["children"][-1]) for child in reversed(node["children"])]
