"""Collection files: YAML in, a checked definition out, with errors that name the key and the nearest right one."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blocks.settings import Settings, secret
from blocks.sql.registry import Registry, not_known
from blocks.stores import open_storage
from collectors.errors import CollectError, Misconfigured, Refused
from collectors.models import Collection
from collectors.registry import checked_source
from collectors.validating import nearest, validated
from deployments.plain_yaml import loaded

SHIPPED = Path(__file__).parent / "collections"
ENDINGS = (".yaml", ".yml")
LARGEST = 256 * 1024
UNCHANGED: Mapping[str, Any] = {}


class Resolved(NamedTuple):
    """The definition a run uses, and the one its file holds, to be remembered once the source has answered."""

    definition: Collection
    of_file: Collection | None


def looked_up(name_or_file: str, overrides: Sequence[str], tenant: str = "default") -> Collection:
    """The definition a run would use, without making a store: it is opened for a name only, and only if there is one.

    Raises Misconfigured.
    """
    settings = Settings.load()
    nothing_yet = not (settings.doubt or settings.addresses or settings.database.exists())
    if names_file(name_or_file) or nothing_yet:
        return resolve(name_or_file, overrides, None, tenant).definition
    with open_storage(settings) as storage:
        return resolve(name_or_file, overrides, storage.registry, tenant).definition


def names_file(name_or_file: str) -> bool:
    return name_or_file.endswith(ENDINGS) or _is(Path.is_file, name_or_file)


def resolve(
    name_or_file: str,
    overrides: Sequence[str],
    registry: Registry | None,
    tenant: str = "default",
    given: Mapping[str, Any] = UNCHANGED,
) -> Resolved:
    """The definition in a file, of a collection that was collected before, or shipped; with `key=value` overrides.

    `given` keys are written over what they held. Without a registry nothing was collected before. Raises Misconfigured.
    """
    of_file = None
    if names_file(name_or_file):
        definition = of_file = _checked(_read(Path(name_or_file)), name_or_file)
    else:
        remembered = registry.definition(tenant, name_or_file) if registry else None
        definition = remembered or _shipped(name_or_file)
        if definition is None:
            raise _missing(name_or_file, registry, tenant)
    changed = _overridden(definition.model_dump(mode="json"), overrides) | given
    return Resolved(_checked(changed, name_or_file), of_file)


def of_file(path: str) -> Collection:
    """What a collection file holds. Raises Misconfigured."""
    return _parsed(_read(Path(path)), path)


def of_folder(folder: Path) -> list[tuple[Path, Collection]]:
    """The collection files of a folder and its folders, by their paths. Raises Misconfigured."""
    if not _is(Path.is_dir, str(folder)):
        raise Misconfigured(
            "{path} is no folder", "Name the folder that holds the collection files.", code="COL-0298", path=folder
        )
    found = sorted(path for ending in ENDINGS for path in folder.rglob(f"*{ending}"))
    return [(path, of_file(str(path))) for path in found]


def known_all(registry: Registry, tenant: str) -> list[Collection]:
    """Those collected before, and those that are shipped, by name."""
    ours = [each.model_copy(update={"tenant": tenant}) for each in shipped()]
    found = {each.name: each for each in [*ours, *registry.definitions(tenant)]}
    return [found[name] for name in sorted(found)]


def known(name: str, registry: Registry, tenant: str) -> Collection:
    """By its name alone, never a file. Raises Misconfigured."""
    if found := looked_for(name, registry, tenant):
        return found
    raise not_known(name)


def looked_for(name: str, registry: Registry, tenant: str) -> Collection | None:
    found = registry.definition(tenant, name) or _shipped(name)
    return found and found.model_copy(update={"tenant": tenant})


def shipped() -> list[Collection]:
    return [_parsed(_read(path), str(path)) for path in sorted(SHIPPED.glob("*.yaml"))]


def _shipped(name: str) -> Collection | None:
    return next((each for each in shipped() if each.name == name), None)


def _missing(name: str, registry: Registry | None, tenant: str) -> CollectError:
    _refuse_folder(name)
    if not name:
        return Misconfigured("the name of a collection is missing", "List them with: collect list", code="COL-0221")
    if registry and (first := registry.being_planned(tenant, name)):
        return Refused(
            "collection {name} is known once its source has answered, and run {run} still asks it",
            "Watch it with: collect status {run} --watch; or name the collection's file.",
            code="COL-0461",
            name=name,
            run=first,
        )
    names = [
        *(each.name for each in shipped()),
        *(each.name for each in (registry.definitions(tenant) if registry else ())),
    ]
    return Misconfigured(
        "there is no collection {name!r}, and no such file",
        "{hint}List collections with: collect list",
        code="COL-0221",
        name=name,
        hint=nearest(name, names),
    )


def _refuse_folder(name: str) -> None:
    if name and _is(Path.is_dir, name):
        raise Misconfigured("{path} is a folder", "Name a collection file in it.", code="COL-0220", path=name)


def _read(path: Path) -> Any:
    _refuse_folder(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise Misconfigured(
            "{path} cannot be read ({why})",
            "Check its name, or write one: collect init {file}" if missing else "Check its name and rights.",
            code="COL-0211",
            path=path,
            why=getattr(error, "strerror", error),
            file=shlex.quote(str(path)),
        ) from error
    if len(content) > LARGEST:
        raise Misconfigured(
            "{path} is larger than {kilobytes} KB",
            "A collection file holds a few lines; is this the right one?",
            code="COL-0214",
            path=path,
            kilobytes=LARGEST // 1024,
        )
    try:
        return loaded(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise Misconfigured(
            "{path} is not UTF-8 text ({why} at byte {at})",
            "Save it as UTF-8.",
            code="COL-0212",
            path=path,
            why=error.reason,
            at=error.start,
        ) from None


def _in(origin: str, error: Misconfigured) -> Misconfigured:
    facts = {"origin": origin, "said": error.what, "advice": error.remedy}
    return Misconfigured("{origin}: {said}", "{advice}" if error.remedy else "", code=error.code, **facts)


def _parsed(values: Any, origin: str) -> Collection:
    if not isinstance(values, dict):
        raise Misconfigured(
            "{path} does not hold a collection",
            "It has to begin with lines like name: and collector:",
            code="COL-0219",
            path=origin,
        )
    try:
        return validated(Collection, values, "")
    except Misconfigured as error:
        raise _in(origin, error) from None


def _checked(values: Any, origin: str) -> Collection:
    definition = _parsed(values, origin)
    try:
        checked_source(definition, secret)
    except Misconfigured as error:
        raise _in(origin, error) from None
    return definition


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    # What is wrong is said by the key alone: the value may be a secret.
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise Misconfigured("--set wants key=value", "Example: --set strategy.concurrency=2", code="COL-0222")
        *path, last = key.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                what, remedy = "--set {key}: {part} holds no further keys", "Leave out what follows it."
                raise Misconfigured(what, remedy, code="COL-0223", key=key, part=part)
        place[last] = loaded(text, f"--set {key}")
    return values


def _is(test: Callable[[Path], bool], name: str) -> bool:
    try:
        return test(Path(name))
    except (OSError, ValueError):
        return False
