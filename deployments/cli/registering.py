"""`register`, `unregister`, `apply`, `versions` and `rollback`: which definitions are in force."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter

from blocks.reports import moment
from blocks.settings import Settings
from blocks.sql.registry import Changed
from blocks.stores import Storage, open_storage
from collectors.errors import Misconfigured
from collectors.language import LANGUAGE, spoken
from collectors.models import Collection
from deployments.cli.output import print_json, print_rows, say, show, show_warnings
from deployments.definitions import of_file, of_folder
from deployments.registering import (
    Difference,
    Registration,
    applied_to_prefect,
    checked,
    difference,
    differences_of,
    planned,
    reached,
    registered,
    version_among,
)


def register(
    *files: Annotated[Path, Parameter(required=True)],
    dry_run: bool = False,
    offline: bool = False,
    expect: int | None = None,
    json: bool = False,
) -> int:
    """Put the definitions of collection files in force: their schedules are carried out from now on.

    All files are checked, and their sources asked, before anything is changed. Each version is kept.

    Examples
        $ collect register tests.yaml
        $ collect register tests.yaml --dry-run
        $ collect register tests.yaml --expect 3

    Parameters
    ----------
    files
        paths of collection files
    dry_run
        only print what would change
    offline
        do not ask the sources
    expect
        the version that these follow: refused when somebody else has changed it since; 0 for none
    json
        print an array of what was done
    """
    definitions = [of_file(str(each)) for each in files]
    _refuse_twice(definitions, files)
    _check(definitions, offline)
    settings = Settings.load()
    with open_storage(settings) as storage:
        done = [_put(storage, settings, each, dry_run, expect) for each in definitions]
    return _told(done, dry_run, json)


def unregister(name: str, /, *, tenant: str = "default") -> int:
    """Take a collection out of force: it is not due any more. Its records, runs and versions stay.

    Examples
        $ collect unregister tests

    Parameters
    ----------
    name
        the collection
    tenant
        whose it is
    """
    settings = Settings.load()
    with open_storage(settings) as storage:
        storage.registry.unregister(tenant, name)
        applied_to_prefect(storage, settings, tenant, name)
    say("{name} is not registered any more; its records, runs and versions are kept", name=name)
    return 0


def apply(
    folder: Path,
    /,
    *,
    dry_run: bool = False,
    prune: bool = False,
    offline: bool = False,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Make a folder of collection files the truth: register each, and report what is registered without a file.

    Exit code 3 when something differs that was not put right.

    Examples
        $ collect apply collections/
        $ collect apply collections/ --dry-run
        $ collect apply collections/ --prune

    Parameters
    ----------
    folder
        its files *.yaml and *.yml, those of its folders, too
    dry_run
        only report what differs
    prune
        also unregister what has no file
    offline
        do not ask the sources
    tenant
        whose registrations are compared
    json
        print an array of what was done
    """
    found = of_folder(folder)
    definitions = [definition for _, definition in found]
    _refuse_twice(definitions, [path for path, _ in found])
    _check(definitions, offline)
    settings = Settings.load()
    with open_storage(settings) as storage:
        done = [_put(storage, settings, each, dry_run, None) for each in definitions]
        named = {each.name for each in definitions if each.tenant == tenant}
        without = [each for each in storage.registry.names_in_force(tenant) if each not in named]
        for name in without if prune and not dry_run else ():
            storage.registry.unregister(tenant, name)
            applied_to_prefect(storage, settings, tenant, name)
    for name in without:
        text = "{name} has no file here, and is not registered any more" if prune and not dry_run else _DRIFT
        say(text, name=name)
    differs = (dry_run and any(each.differences for each in done)) or (without and not (prune and not dry_run))
    return _told(done, dry_run, json) or (3 if differs else 0)


def versions(
    name: str,
    first: int | None = None,
    second: int | None = None,
    /,
    *,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """List the versions of a definition; show one of them as a file, or what changed between two.

    Examples
        $ collect versions tests
        $ collect versions tests 2
        $ collect versions tests 1 2

    Parameters
    ----------
    name
        the collection
    first
        show this version
    second
        what changed from the first one to this one
    tenant
        whose it is
    json
        print JSON
    """
    with open_storage(Settings.load()) as storage:
        rows = storage.registry.versions(tenant, name)
    if first is None:
        listed = [_listed(row, before) for row, before in zip(rows, [*rows[1:], None], strict=True)]
        columns = {"VERSION": "version", "WHEN": "created_at", "BY": "created_by", "CHANGES": "changes"}
        print_rows(listed, columns, json, whole=True)
    elif second is None:
        _showversion_among(version_among(rows, name, first), json)
    else:
        found = [*differences_of(version_among(rows, name, first), version_among(rows, name, second))]
        print_json([difference(each) for each in found]) if json else _show_differences(found)
    return 0


def rollback(name: str, version: int, /, *, tenant: str = "default", dry_run: bool = False, json: bool = False) -> int:
    """Put an older version of a definition in force again, as a new version.

    Examples
        $ collect rollback tests 1
        $ collect rollback tests 1 --dry-run

    Parameters
    ----------
    name
        the collection
    version
        the version, as collect versions lists it
    tenant
        whose it is
    dry_run
        only print what would change
    json
        print an array of what was done
    """
    settings = Settings.load()
    with open_storage(settings) as storage:
        definition = version_among(storage.registry.versions(tenant, name), name, version)
        checked(definition)
        done = _put(storage, settings, definition, dry_run, None)
    return _told([done], dry_run, json)


_DRIFT = "{name} is registered and has no file here; take it out of force: collect unregister {name}, or apply --prune"


def _refuse_twice(definitions: Sequence[Collection], files: Sequence[Path]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for definition, file in zip(definitions, files, strict=True):
        if other := seen.get((definition.tenant, definition.name)):
            raise Misconfigured(
                "{first} and {second} both define {name}",
                "Give one of them another name, or take it away.",
                code="COL-0296",
                first=other,
                second=file,
                name=definition.name,
            )
        seen[definition.tenant, definition.name] = file


def _check(definitions: Sequence[Collection], offline: bool) -> None:
    show_warnings()
    for each in definitions:
        checked(each)
    if not offline:
        asyncio.run(_reach(definitions))


async def _reach(definitions: Sequence[Collection]) -> None:
    for each in definitions:
        await reached(each)


def _put(
    storage: Storage, settings: Settings, definition: Collection, dry_run: bool, expect: int | None
) -> Registration:
    if dry_run:
        return planned(storage, definition)
    try:
        return registered(storage, settings, definition, expect)
    except Changed as error:
        _show_differences([*differences_of(definition, error.theirs)])
        raise


def _told(done: Sequence[Registration], dry_run: bool, json: bool) -> int:
    if json:
        print_json([_as_json(each) for each in done])
        return 0
    for each in done:
        _show(each, dry_run)
    return 0


def _show(done: Registration, dry_run: bool) -> None:
    text = "{name}  version {version}" if done.differences else "{name}  version {version}, unchanged"
    show(spoken(text, name=done.definition.name, version=done.version))
    _show_differences(done.differences)
    if dry_run:
        return
    for each in done.definition.schedule:
        show(
            spoken(
                "  due       {slug}: {words} ({zone})",
                slug=each.slug,
                words=each.words(LANGUAGE.get()),
                zone=each.timezone,
            )
        )
    if done.waits:
        say("  Prefect   it is kept, and shown there later: {why}", why=done.waits)
    elif not done.applied and done.definition.schedule:
        say(
            "  next      collect serve carries it out; see when: collect schedule next {name}",
            name=done.definition.name,
        )


def _show_differences(found: Sequence[Difference]) -> None:
    for key, before, after in found:
        show(f"  {key}  {_said(before)} -> {_said(after)}")


def _said(value: Any) -> str:
    return (
        "-"
        if value is None
        else yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
        .removesuffix("\n...\n")
        .strip()
    )


def _as_json(done: Registration) -> dict[str, Any]:
    told = {"name": done.definition.name, "tenant": done.definition.tenant, "version": done.version}
    differences = [difference(each) for each in done.differences]
    return told | {"differences": differences, "applied": done.applied, "waits": done.waits}


def _listed(row: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    found = differences_of(before and before["definition"], row["definition"])
    changes = ", ".join(key for key, *_ in found) if before else ""
    told = {"version": row["version"], "created_by": row["created_by"], "changes": changes}
    return told | {"created_at": moment(row["created_at"])}


def _showversion_among(definition: Collection, json: bool) -> None:
    values = definition.model_dump(mode="json", exclude_defaults=True)
    if json:
        print_json(values)
    else:
        show_text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        print(show_text, end="")
