"""`list`: what can be collected by its name."""

from typing import Any

from blocks.settings import Settings
from blocks.stores import open_storage
from deployments.cli.output import print_rows
from deployments.definitions import known_all


def list_(*, tenant: str = "default", json: bool = False) -> int:
    """List the known collections: those registered, those collected before, and those that are shipped.

    Examples
        $ collect list
        $ collect list --json

    Parameters
    ----------
    tenant
        whose collections
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        rows = [_collection(storage, each) for each in known_all(storage.registry, tenant)]
    columns = {
        "COLLECTION": "name", "COLLECTOR": "collector", "SOURCE": "source", "DIRECTORIES": "directories",
        "CASES": "cases", "REGISTERED": "version", "LAST RUN": "last_run", "STATE": "state",
    }  # fmt: skip
    print_rows(rows, columns, json)
    return 0


def _collection(storage: Any, each: Any) -> dict[str, Any]:
    registered = storage.registry.in_force(each.tenant, each.name)
    counts = storage.rows.count(each.tenant, each.name)
    last = next(iter(storage.catalog.runs(each.tenant, each.name, limit=1)), None)
    return {
        "name": each.name,
        "collector": each.collector,
        "source": each.source.get("base_url"),
        "directories": counts["directory"],
        "cases": counts["case"],
        "version": registered and registered[0],
        "last_run": last and last["run_id"],
        "state": last and last["state"],
    }
