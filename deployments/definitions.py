"""Collection files: YAML in, a checked definition out, with errors that name the key and the nearest right one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from blocks.catalog import Catalog
from blocks.settings import secret
from collectors.errors import Misconfigured
from collectors.models import Collection
from collectors.registry import checked_source, nearest, validated

SHIPPED = Path(__file__).parent / "collections"


class Resolved(NamedTuple):
    """The definition a run uses, and the one its file holds, to be remembered once the source has answered."""

    definition: Collection
    of_file: Collection | None


def resolve(name_or_file: str, overrides: Sequence[str], catalog: Catalog, tenant: str = "default") -> Resolved:
    """The definition in a file, of a collection that was collected before, or shipped; with `key=value` overrides."""
    of_file = None
    if _is(Path.is_dir, name_or_file):
        raise Misconfigured(f"{name_or_file} is a folder", "Name a collection file in it.")
    if name_or_file.endswith((".yaml", ".yml")) or _is(Path.is_file, name_or_file):
        definition = of_file = _checked(_read(Path(name_or_file)), name_or_file)
    else:
        definition = catalog.definition(tenant, name_or_file) or _shipped(name_or_file, catalog, tenant)
    changed = _overridden(definition.model_dump(mode="json"), overrides)
    return Resolved(_checked(changed, name_or_file), of_file)


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


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise Misconfigured(f"{path} cannot be read ({why})", "Check its name and rights.") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Misconfigured(
            f"{path} is not valid YAML{_where(error)}", "Check quotes, dates and indentation."
        ) from None


def _where(error: Exception) -> str:
    """The place alone: what stands there may be a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark:
        return f" (line {mark.line + 1}, column {mark.column + 1})"
    return f" (position {error.position})" if isinstance(error, yaml.reader.ReaderError) else ""


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
    # What is wrong is said by the key alone: the value may be a secret.
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise Misconfigured("--set wants key=value", "Example: --set strategy.concurrency=2")
        *path, last = key.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise Misconfigured(f"--set {key}: {part} holds no further keys")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise Misconfigured(
                f"--set {key}: the value is not valid YAML", f"Quote it: --set '{key}=\"...\"'"
            ) from None
    return values


def _is(test: Callable[[Path], bool], name: str) -> bool:
    try:
        return test(Path(name))
    except (OSError, ValueError):
        return False
