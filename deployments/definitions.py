"""Collection files: YAML in, a checked definition out, with errors that name the key and the nearest right one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from blocks.catalog import Catalog
from blocks.settings import secret
from collectors.errors import Misconfigured
from collectors.models import Collection
from collectors.registry import checked_source, nearest, validated

SHIPPED = Path(__file__).parent / "collections"


def resolve(name_or_file: str, overrides: Sequence[str], catalog: Catalog, tenant: str = "default") -> Collection:
    """The definition in a file, of a collection that was collected before, or shipped; with `key=value` overrides.

    A file's definition is remembered under its name; overrides hold for this time only.
    """
    if _is_file(name_or_file):
        values = _read(Path(name_or_file))
        definition = _checked(values, name_or_file)
        catalog.register(definition)
    else:
        definition = catalog.definition(tenant, name_or_file) or _shipped(name_or_file, catalog, tenant)
    changed = _overridden(definition.model_dump(mode="json"), overrides)
    return _checked(changed, name_or_file)


def shipped() -> list[Collection]:
    return [_parsed(_read(path), str(path)) for path in sorted(SHIPPED.glob("*.yaml"))]


def _shipped(name: str, catalog: Catalog, tenant: str) -> Collection:
    known = {each.name: each for each in shipped()}
    if name in known:
        return known[name]
    names = [*known, *(each.name for each in catalog.definitions(tenant))]
    raise Misconfigured(
        f"there is no collection {name!r}, and no such file",
        f"{nearest(name, names)}List collections with: collect list",
    )


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or Path(name).is_file()


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _parsed(values: Any, origin: str) -> Collection:
    if not isinstance(values, dict):
        raise Misconfigured(
            f"{origin} does not hold a collection", "It has to begin with lines like name: and collector:"
        )
    try:
        return validated(Collection, values, "")
    except Misconfigured as error:
        raise Misconfigured(f"{origin}: {error.what}", error.remedy) from None


def _checked(values: Any, origin: str) -> Collection:
    definition = _parsed(values, origin)
    try:
        checked_source(definition, secret)
    except Misconfigured as error:
        raise Misconfigured(f"{origin}: {error.what}", error.remedy) from None
    return definition


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise Misconfigured(
                f"--set {override} is not of the form key=value", "Example: --set strategy.concurrency=2"
            )
        *path, last = key.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise Misconfigured(f"--set {override}: {part} holds no further keys")
        place[last] = yaml.safe_load(text)
    return values
