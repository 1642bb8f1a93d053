"""`errors`: what went wrong, a line for each cause."""

from collections.abc import Iterable, Iterator
from typing import Any

from blocks.reports import again, report
from blocks.settings import Settings
from blocks.sql.catalog import Catalog
from blocks.stores import open_storage
from collectors.errors import parted
from collectors.language import spoken
from deployments.cli.output import print_columns, print_json, say

UNNAMED = "unexpected"


def errors(run_id: str | None = None, /, *, tenant: str = "default", json: bool = False) -> int:
    """Show what went wrong, a line for each cause, and what to do.

    Examples
        $ collect errors
        $ collect errors RUN
        $ collect errors --json

    Parameters
    ----------
    run_id
        this run; the newest one of each collection when left out
    tenant
        whose runs
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        catalog = storage.catalog
        runs = [catalog.run(run_id)] if run_id else _newest(catalog, tenant)
        causes = [cause for run in runs for cause in _causes(catalog, run)]
    if json:
        print_json(causes)
        return 0
    print_columns(
        ["RUN", "COLLECTION", "COUNT", "CAUSE", "EXAMPLE", "WHAT TO DO"],
        [[each[key] for key in ("run_id", "collection", "count", "cause", "example", "fix")] for each in causes],
    )
    if not causes:
        say("nothing went wrong")
    return 0


def _newest(catalog: Catalog, tenant: str) -> list[dict[str, Any]]:
    return [run for name in catalog.collected(tenant) for run in catalog.runs(tenant, name, limit=1)]


def _causes(catalog: Catalog, run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The causes of one run: those of its shards and its own first, then those of refused records, most first."""
    failed = [shard["error"] for shard in catalog.shards(run["run_id"]) if shard["error"]]
    own = [run["error"]] if run["error"] and run["error"] not in failed else []
    of_run = {"run_id": run["run_id"], "collection": run["collection"]}
    for cause in _grouped([*own, *failed], again(report(catalog, run["run_id"]))):
        yield of_run | cause
    for refused in catalog.refusals(run["run_id"]):
        yield of_run | {
            "kind": "quarantine",
            "cause": refused["reason"],
            "count": refused["count"],
            "example": refused["message"],
            "fix": _correction(refused["reason"], run["run_id"]),
        }


def _grouped(texts: Iterable[str], command: str) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    after = spoken("when the cause is gone: {command}", command=command)
    for text in texts:
        code, what, remedy = parted(text)
        cause = code or UNNAMED
        first = {"kind": "error", "cause": cause, "count": 0, "example": what, "fix": remedy or after}
        groups.setdefault(cause, first)["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])


def _correction(reason: str, run_id: str) -> str:
    """What to do about refused records of one reason; `invalid-FIELD` names the field of the record."""
    match reason:
        case "missing-id":
            return spoken("give each record an id in the source, then collect again")
        case "missing-name":
            return spoken("name these records in the source, then collect again")
    field = reason.removeprefix("invalid-")
    if field == reason:
        return spoken("look at what the source sent: collect quarantine {run_id} --json", run_id=run_id)
    return spoken(
        "correct {field} in the source; what it sent: collect quarantine {run_id} --json", field=field, run_id=run_id
    )
