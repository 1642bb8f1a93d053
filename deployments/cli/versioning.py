"""`versions` and `rollback`: what a definition was, and that again."""

from typing import Any

import yaml

from blocks.reports import moment
from blocks.settings import Settings
from blocks.sql.registry import not_registered
from blocks.stores import open_storage
from collectors.models import Collection
from deployments.cli.output import print_json, print_rows
from deployments.cli.registering import put, show_differences, tell
from deployments.registering import checked, difference, differences_of, version_among, without_secrets


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
        _show_version(version_among(rows, name, first), json)
    else:
        found = [*differences_of(version_among(rows, name, first), version_among(rows, name, second))]
        print_json([difference(each) for each in found]) if json else show_differences(found)
    return 0


def rollback(
    name: str,
    version: int,
    /,
    *,
    expect: int | None = None,
    tenant: str = "default",
    dry_run: bool = False,
    json: bool = False,
) -> int:
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
    expect
        the version that is in force now: refused when somebody else has changed it since
    tenant
        whose it is
    dry_run
        only print what would change
    json
        print an array of what was done
    """
    settings = Settings.load()
    with open_storage(settings) as storage:
        if storage.registry.in_force(tenant, name) is None:
            raise not_registered(name)
        definition = version_among(storage.registry.versions(tenant, name), name, version)
        checked(definition, offline=True)
        done = put(storage, settings, definition, dry_run, expect)
    tell([done], dry_run, json)
    return 0


def _listed(row: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    found = differences_of(before and before["definition"], row["definition"])
    changes = ", ".join(key for key, *_ in found) if before else ""
    told = {"version": row["version"], "created_by": row["created_by"], "changes": changes}
    return told | {"created_at": moment(row["created_at"])}


def _show_version(definition: Collection, json: bool) -> None:
    values = without_secrets(definition)
    if json:
        print_json(values)
    else:
        print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")
