"""`register`, `unregister` and `apply`: which definitions are in force."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter

from blocks.settings import Settings
from blocks.sql.registry import Changed
from blocks.stores import Storage, open_storage
from collectors.errors import Misconfigured
from collectors.language import LANGUAGE, spoken
from collectors.models import Collection
from deployments.cli.output import print_json, say, show, show_warnings
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
        only print what would change; the sources are not asked
    offline
        do not ask the sources
    expect
        the version that these follow: refused when somebody else has changed it since; 0 for none
    json
        print an array of what was done
    """
    definitions = [of_file(str(each)) for each in files]
    _refuse_twice(definitions, files)
    _check(definitions, offline or dry_run)
    settings = Settings.load()
    with open_storage(settings) as storage:
        done = [put(storage, settings, each, dry_run, expect) for each in definitions]
    tell(done, dry_run, json)
    return 0


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
        only report what differs; the sources are not asked
    prune
        also unregister what has no file, also what was registered in other ways
    offline
        do not ask the sources
    tenant
        whose registrations are compared
    json
        print an array of what was done
    """
    found, pruned = of_folder(folder), prune and not dry_run
    if prune and not found:
        raise Misconfigured(
            "{path} holds no collection file, and --prune would take everything out of force",
            "Name the right folder; or take collections out of force one by one: collect unregister NAME",
            code="COL-0298",
            path=folder,
        )
    definitions = [definition for _, definition in found]
    _refuse_twice(definitions, [path for path, _ in found])
    _check(definitions, offline or dry_run)
    settings = Settings.load()
    with open_storage(settings) as storage:
        done = [put(storage, settings, each, dry_run, None) for each in definitions]
        named = {each.name for each in definitions if each.tenant == tenant}
        without = [each for each in storage.registry.names_in_force(tenant) if each not in named]
        for name in without if pruned else ():
            storage.registry.unregister(tenant, name)
            applied_to_prefect(storage, settings, tenant, name)
    for name in without:
        say(_PRUNED if pruned else _WITHOUT_FILE, name=name)
    tell(done, dry_run, json)
    differs = (without and not pruned) or any(each.waits or (dry_run and each.differences) for each in done)
    return 3 if differs else 0


_PRUNED = "{name} has no file here, and is not registered any more"
_WITHOUT_FILE = (
    "{name} is registered and has no file here; take it out of force: collect unregister {name}, or apply --prune"
)


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
        checked(each, offline)
    if not offline:
        asyncio.run(_reach(definitions))


async def _reach(definitions: Sequence[Collection]) -> None:
    for each in definitions:
        await reached(each)


def put(
    storage: Storage, settings: Settings, definition: Collection, dry_run: bool, expect: int | None
) -> Registration:
    try:
        if dry_run:
            return planned(storage, definition, expect)
        return registered(storage, settings, definition, expect)
    except Changed as error:
        for each in differences_of(definition, error.theirs):
            say("{line}", line=_line(*each))
        raise


def tell(done: Sequence[Registration], dry_run: bool, json: bool) -> None:
    if json:
        print_json([_as_json(each) for each in done])
        return
    for each in done:
        _show(each, dry_run)


def _show(done: Registration, dry_run: bool) -> None:
    text = "{name}  version {version}" if done.differences else "{name}  version {version}, unchanged"
    show(spoken(text, name=done.definition.name, version=done.version))
    show_differences(done.differences)
    if done.waits:
        say("  Prefect   it is kept, and shown there later: {why}", why=done.waits)
    if dry_run:
        return
    for each in done.definition.schedule:
        text = "  due       {slug}: {words}" if each.interval else "  due       {slug}: {words} ({zone})"
        show(spoken(text, slug=each.slug, words=each.words(LANGUAGE.get()), zone=each.timezone))
    if done.definition.schedule and not done.applied:
        say("  next      collect serve carries it out; when: collect schedule list {name}", name=done.definition.name)


def show_differences(found: Iterable[Difference]) -> None:
    for each in found:
        show(_line(*each))


def _line(key: str, before: Any, after: Any) -> str:
    return f"  {key}  {_said(before)} -> {_said(after)}"


def _said(value: Any) -> str:
    if value is None:
        return "-"
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n...\n").strip()


def _as_json(done: Registration) -> dict[str, Any]:
    told = {"name": done.definition.name, "tenant": done.definition.tenant, "version": done.version}
    differences = [difference(each) for each in done.differences]
    return told | {"differences": differences, "applied": done.applied, "waits": done.waits}
