"""`tree` and `export`: what was collected."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from blocks import views
from blocks.settings import Settings
from blocks.stores import Storage, open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from collectors.models import KINDS
from collectors.trees import cut, pictured
from deployments.cli.choosing import meant
from deployments.cli.output import print_json, say, show
from deployments.moments import moment_of, past_of

# JSON of more levels than this, two brackets each, is refused by many readers; nobody reads a picture of it.
DEEPEST = 100
LEFT_OUT = "{count} directories below level {deepest} are left out; collect export has all"
MISSING = "{count} records are left out: their details are not stored yet; finish with: collect resume RUN"


def tree(
    collection: str | None = None,
    /,
    *,
    depth: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    at: str | None = None,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show the directories of a collection and how many cases they hold, those below included.

    Examples
        $ collect tree demo --depth 2
        $ collect tree demo --json
        $ collect tree demo --at 2026-01-01T00:00:00Z

    Parameters
    ----------
    collection
        name of the collection; may be left out when there is only one
    depth
        show this many levels; 100 is the most
    at
        as it stood at this time (with its zone), or as this run left it
    tenant
        whose collection
    json
        print an array of the top directories, each with its children; `cut` counts those left out below
    """
    with open_storage(Settings.load()) as storage:
        name = meant(storage, collection, tenant)
        top, total = _tree_at(storage, tenant, name, at) if at else views.tree(storage, tenant, name)
    if (left_out := cut(top, min(depth or DEEPEST, DEEPEST))) and (depth or DEEPEST) >= DEEPEST:
        say(LEFT_OUT, count=f"{left_out:,}", deepest=DEEPEST)
    if json:
        print_json(top)
        return 0
    if at and not top and not total:
        say("nothing of {name} was there then", name=name)
    show(spoken("{name}  {total:,} cases", name=name, total=total))
    for line in _drawn(top):
        show(line)
    if lost := total - sum(node["cases"] for node in top):
        show(spoken("   {lost:,} cases in no directory", lost=lost))
    return 0


def _tree_at(storage: Storage, tenant: str, name: str, at: str) -> tuple[list[dict[str, Any]], int]:
    past = past_of(storage, tenant, name)
    return pictured(past.leaves(moment_of(past, at)))


def export(
    collection: str, /, *, format: Literal["jsonl"] = "jsonl", output: Path | None = None, tenant: str = "default"
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
        name = meant(storage, collection, tenant)
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
    for kind in KINDS:
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


def _drawn(top: Sequence[dict[str, Any]]) -> Iterator[str]:
    left = [(node, "", node is top[-1]) for node in reversed(top)]
    while left:
        node, indent, last = left.pop()
        why = node.get("lost")
        lost = f"   ({spoken(why)})" if why else ""
        more = "   …" if "cut" in node else ""
        yield f"{indent}{'└─' if last else '├─'} {node['name']}   {node['cases']:,}{lost}{more}"
        deeper = indent + ("   " if last else "│  ")
        left += [(child, deeper, child is node["children"][-1]) for child in reversed(node["children"])]
