"""`list` and `collectors`: what can be collected."""

from typing import Any

from blocks.settings import Settings
from blocks.storage import open_storage
from collectors import registry
from collectors.errors import CollectError
from deployments.cli.output import print_columns, print_json
from deployments.definitions import shipped


def list_(*, tenant: str = "default", json: bool = False) -> int:
    """List the known collections: those collected before, and those that are shipped.

    Parameters
    ----------
    tenant
        whose collections
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        known = {each.name: each for each in [*shipped(), *storage.catalog.definitions(tenant)]}
        rows = [_collection(storage, each) for each in known.values()]
    if json:
        print_json(rows)
        return 0
    print_columns(
        ["COLLECTION", "COLLECTOR", "SOURCE", "DIRECTORIES", "CASES", "LAST RUN", "STATE"],
        [
            [each[name] for name in ("name", "collector", "source", "directories", "cases", "last_run", "state")]
            for each in rows
        ],
    )
    return 0


def _collection(storage: Any, each: Any) -> dict[str, Any]:
    counts = storage.rows.count(each.tenant, each.name)
    last = next(iter(storage.catalog.runs(each.tenant, each.name, limit=1)), None)
    return {
        "name": each.name,
        "collector": each.collector,
        "source": each.source.get("base_url"),
        "directories": counts["directory"],
        "cases": counts["case"],
        "last_run": last and last["run_id"],
        "state": last and last["state"],
    }


def collectors(*, json: bool = False) -> int:
    """List the kinds of sources that can be collected.

    Parameters
    ----------
    json
        print an array of objects
    """
    rows = [_collector(name) for name in registry.names()]
    if json:
        print_json(rows)
        return 0
    print_columns(
        ["COLLECTOR", "WHAT", "SOURCE KEYS"],
        [[each["name"], each["error"] or each["summary"], ", ".join(each["parameters"])] for each in rows],
    )
    return 0


def _collector(name: str) -> dict[str, Any]:
    try:
        found = registry.load(name)
    except CollectError as error:
        return {"name": name, "summary": None, "parameters": [], "error": str(error)}
    return {
        "name": name,
        "summary": (found.__doc__ or "").partition("\n")[0],
        "parameters": list(found.Parameters.model_fields),
        "error": None,
    }
