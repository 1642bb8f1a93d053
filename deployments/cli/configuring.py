"""`config`: settings that are changed while everything runs, and are in force within two seconds."""

from typing import Any

from cyclopts import App

from blocks.settings import Serving, Settings
from blocks.stores import open_storage
from collectors.config import Place, setting, written
from collectors.language import spoken
from deployments.cli.output import print_json, print_rows, say
from deployments.configuring import definition_of, in_force, version_of

config = App(name="config", help="Show and change settings while everything runs, without a restart.")


@config.default
@config.command
def show(
    name: str = "",
    /,
    *,
    collection: str = "",
    tenant: str = "",
    origin: bool = False,
    json: bool = False,
) -> int:
    """Show the settings and their values in force: for everything, for a tenant, or for a collection.

    Examples
        $ collect config show
        $ collect config show concurrency --collection demo --origin

    Parameters
    ----------
    name
        one setting alone
    collection
        as it is in force for this collection
    tenant
        as it is in force for this tenant; a collection's is default
    origin
        where each value comes from, who set it, and why
    json
        print an array of objects
    """
    if name:
        setting(name)
    with open_storage(Settings.load()) as storage:
        found = in_force(storage, Serving.load(), *_place(tenant, collection))
    if origin:
        columns = {"SETTING": "name", "VALUE": _value, "ORIGIN": _origin, "BY": "set_by", "SINCE": "set_at",
                   "REASON": "reason"}  # fmt: skip
    else:
        columns = {"SETTING": "name", "VALUE": _value, "UNIT": "unit", "WHAT IT IS": "description"}
    print_rows([each for each in found if name in ("", each["name"])], columns, json)
    return 0


@config.command(name="set")
def set_(
    name: str, value: str, /, *, collection: str = "", tenant: str = "", reason: str = "", json: bool = False
) -> int:
    """Set a value, for everything, for a tenant, or for a collection; the narrowest that is set is in force.

    Examples
        $ collect config set concurrency 2 --collection demo --reason "the source is slow"
        $ collect config set requests_per_second 5 --tenant default
        $ collect config set schedules off

    Parameters
    ----------
    name
        a setting, as collect config shows it
    value
        a number, or on or off
    collection
        for this collection alone
    tenant
        for this tenant alone; a collection's is default
    reason
        why; it is shown with the value
    json
        print the new version as JSON
    """
    place = _place(tenant, collection)
    with open_storage(Settings.load()) as storage:
        definition_of(storage, place)
        version = storage.config.set(place, name, value, reason or None)
    return _changed(name, place, version_of(version), json)


@config.command
def unset(name: str, /, *, collection: str = "", tenant: str = "", reason: str = "", json: bool = False) -> int:
    """Take a value away: what is set less narrowly is in force then, or what holds without.

    Examples
        $ collect config unset concurrency --collection demo

    Parameters
    ----------
    name
        a setting, as collect config shows it
    collection
        that of this collection
    tenant
        that of this tenant; a collection's is default
    reason
        why; the history keeps it
    json
        print the new version as JSON, null where nothing was set
    """
    place = _place(tenant, collection)
    with open_storage(Settings.load()) as storage:
        version = storage.config.unset(place, name, reason or None)
    return _changed(name, place, version and version_of(version), json)


@config.command
def history(name: str, /, *, collection: str = "", tenant: str = "", json: bool = False) -> int:
    """Show what a setting was, newest first: each change, who made it, and why.

    Examples
        $ collect config history concurrency --collection demo

    Parameters
    ----------
    name
        a setting, as collect config shows it
    collection
        that of this collection
    tenant
        that of this tenant; a collection's is default
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        found = [version_of(each) for each in storage.config.history(_place(tenant, collection), name)]
    columns = {"VERSION": "version", "VALUE": _value_then, "BY": "set_by", "SINCE": "set_at", "REASON": "reason"}
    print_rows(found, columns, json)
    return 0


@config.command
def rollback(
    name: str, version: int, /, *, collection: str = "", tenant: str = "", reason: str = "", json: bool = False
) -> int:
    """Set what it was in an earlier version; that is a new version, too.

    Examples
        $ collect config rollback concurrency 1 --collection demo

    Parameters
    ----------
    name
        a setting, as collect config shows it
    version
        a number of collect config history
    collection
        that of this collection
    tenant
        that of this tenant; a collection's is default
    reason
        why; it is shown with the value
    json
        print the new version as JSON
    """
    place = _place(tenant, collection)
    with open_storage(Settings.load()) as storage:
        again = storage.config.rollback(place, name, version, reason or None)
    return _changed(name, place, version_of(again), json)


def _place(tenant: str, collection: str) -> Place:
    return tenant or ("default" if collection else ""), collection


def _changed(name: str, place: Place, version: dict[str, Any] | None, json: bool) -> int:
    if json:
        print_json(version)
        return 0
    facts = {"name": name, "where": _where(place)}
    if version is None:
        say("{name} is not set for {where}", **facts)
    elif version["value"] is None:
        say("{name} is not set for {where} any more (version {version})", version=version["version"], **facts)
    else:
        value = written(version["value"])
        say("{name} is {value} for {where} (version {version})", value=value, version=version["version"], **facts)
    return 0


def _where(place: Place) -> str:
    tenant, collection = place
    if collection:
        return spoken("collection {collection} of tenant {tenant}", collection=collection, tenant=tenant)
    return spoken("tenant {tenant}", tenant=tenant) if tenant else spoken("everything")


def _value(each: dict[str, Any]) -> str:
    return written(each["value"])


def _value_then(each: dict[str, Any]) -> str | None:
    return None if each["value"] is None else written(each["value"])


def _origin(each: dict[str, Any]) -> str:
    origin: str = each["origin"]
    return spoken(origin)
