"""Settings as people see and change them: each with the value that is in force, and where that comes from."""

from typing import Any

from blocks.reports import moment
from blocks.settings import Serving
from blocks.sql.config import InForce, Version
from blocks.stores import Storage
from collectors.config import SETTINGS, Place, Setting, Value
from collectors.language import spoken
from collectors.models import Collection, Strategy

BUILT_IN = Serving()


def in_force(storage: Storage, service: Serving, tenant: str, collection: str) -> list[dict[str, Any]]:
    """The shape of `collect config show --json`, and of the service. Raises Misconfigured without the collection."""
    definition = definition_of(storage, (tenant, collection))
    found = storage.config.in_force(tenant, collection)
    return [_shown(each, found.get(name), *_otherwise(name, definition, service)) for name, each in SETTINGS.items()]


def version_of(version: Version) -> dict[str, Any]:
    """One line of what it was: `value` is null where it was taken away."""
    return {
        "version": version.number,
        "value": version.value,
        "set_by": version.set_by,
        "set_at": moment(version.set_at),
        "reason": version.reason,
    }


def definition_of(storage: Storage, place: Place) -> Collection | None:
    """None where the place is wider than a collection. Raises Misconfigured when there is none of that name."""
    tenant, collection = place
    if not collection:
        return None
    if found := storage.registry.definition(tenant, collection):
        return found
    from deployments.definitions import known  # which reads the shipped ones, and that takes a reader of YAML

    return known(collection, storage.registry, tenant)


def _shown(each: Setting, found: InForce | None, value: Value | None, origin: str) -> dict[str, Any]:
    what = {"name": each.name, "description": spoken(each.description), "unit": each.unit, "scopes": list(each.scopes)}
    what |= {"value": value, "origin": origin}
    if found is None:
        return what | dict.fromkeys(("version", "set_by", "set_at", "reason"))
    return what | {"origin": found.origin} | version_of(found.version)


def _otherwise(name: str, definition: Collection | None, service: Serving) -> tuple[Value | None, str]:
    """What holds where nothing is set, and where that comes from."""
    strategy, of_strategy = (definition.strategy, "definition") if definition else (Strategy(), "default")
    rate = int(service.requests_per_second)
    of_rate = "default" if rate == BUILT_IN.requests_per_second else "environment"
    return {
        "concurrency": (strategy.concurrency, of_strategy),
        "requests_per_second": (None, "default"),
        "schedules": (True, "default"),
        "api_requests_per_second": (rate, of_rate),
    }[name]
