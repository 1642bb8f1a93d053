"""`show`: one record, and where it came from."""

from typing import Any, Literal

import orjson

from blocks import views
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from deployments.cli.choosing import wanted
from deployments.cli.output import print_json, show_field, visible


def show(
    id: str,
    /,
    *,
    collection: str | None = None,
    kind: Literal["directory", "case"] | None = None,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show one record, and the run, shard and page it came from.

    Examples
        $ collect show ID --collection demo --kind case
        $ collect show ID --collection demo --kind case --json

    Parameters
    ----------
    id
        the record's id, as collect export and the source have it
    collection
        only in this collection, where several have the id
    kind
        only a directory or a case, where both have the id
    tenant
        whose record
    json
        print one JSON object
    """
    with open_storage(Settings.load()) as storage:
        found = views.records(storage, tenant, wanted(storage, collection, kind, tenant), id)
    record = views.shown(only(found, id, "show"))
    if json:
        print_json(record)
    else:
        _print(record)
    return 0


def only(found: list[dict[str, Any]], id: str, command: str) -> dict[str, Any]:
    """Raises Misconfigured, which says how `command` is told which of several."""
    if not found:
        raise Misconfigured(
            "no record has the id {id}",
            "Find it by its words: collect search WORDS; or list all: collect export COLLECTION",
            code="COL-0245",
            id=id,
        )
    if len(found) > 1:
        raise Misconfigured(
            "{count} records have the id {id}: {which}",
            "Say which: collect {command} {id} --collection {collection} --kind {kind}",
            code="COL-0246",
            count=len(found),
            id=id,
            command=command,
            which=spoken(", ").join(spoken("{kind} of {collection}", **row) for row in found),
            collection=found[0]["collection"],
            kind=found[0]["kind"],
        )
    return found[0]


def _print(record: dict[str, Any]) -> None:
    lines = {
        "collection": record["collection"],
        "path": record["path"] or spoken("unknown: its parent is not there"),
        "parent": record["parent_id"] or spoken("none"),
        "version": spoken(
            "version {source} of the source, seen by observation {observation} (epoch {epoch})", **record["version"]
        ),
        "hash": record["content_hash"],
        "first": _came_from(record["first"]),
        "last": _came_from(record["last"]),
    }
    gone = spoken("   (deleted in the source)") if record["deleted"] else ""
    print(visible(f"{record['kind']} {record['id']}  {record['name']}{gone}"))
    for name, text in lines.items():
        show_field(name, text)
    if record["content"] is None:
        print(spoken("  its details are not stored yet; {remedy}", remedy=_remedy(record)))
        return
    for name in ("metadata", "content"):
        print(f"  {spoken(name)}")
        print(_indented(record[name]))


def _remedy(record: dict[str, Any]) -> str:
    if record["last"]:
        return spoken("finish with: collect resume {run_id}", **record["last"])
    return spoken("collect anew: collect run {collection}", **record)


def _came_from(origin: dict[str, Any] | None) -> str:
    if origin is None:
        return spoken("marked to be written anew")
    return spoken("run {run_id}, shard {shard_id}, page {page}, batch {part} of it, {at}", **origin)


def _indented(value: dict[str, Any]) -> str:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return "\n".join(f"    {visible(line)}" for line in text.splitlines())
