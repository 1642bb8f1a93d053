"""`schedule`: when collections are due by themselves, and the switches of that."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated
from zoneinfo import ZoneInfo

from cyclopts import App, Parameter
from cyclopts.validators import Number

from blocks.settings import Settings
from blocks.sql.registry import not_registered
from blocks.stores import Storage, open_storage
from deployments.cli.output import print_rows, say
from deployments.schedules import rule_of, told

schedule = App(name="schedule", help="Show when collections are due, and switch that on and off.")


@schedule.default
@schedule.command(name="list")
def list_(name: str | None = None, /, *, tenant: str = "default", json: bool = False) -> int:
    """List the schedules, what their rules say, when each is due next, and what became of the last time.

    Examples
        $ collect schedule list
        $ collect schedule list tests --json

    Parameters
    ----------
    name
        only those of this collection
    tenant
        whose they are
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        if name is not None:
            _refuse_unknown(storage, tenant, name)
        rows = [told(row) for row in storage.schedules.of(tenant, name)]
    columns = {
        "COLLECTION": "collection", "SCHEDULE": "slug", "ACTIVE": "active", "NEXT": "next", "LAST": "last",
        "RUN": "run_id", "RULE": "words", "WHY": "reason",
    }  # fmt: skip
    print_rows(rows, columns, json)
    return 0


@schedule.command
def pause(name: str, slug: str | None = None, /, *, reason: str | None = None, tenant: str = "default") -> int:
    """Switch a schedule off, or all of a collection. What is due meanwhile is not made up for.

    Examples
        $ collect schedule pause tests
        $ collect schedule pause tests nightly --reason "the source is moved"

    Parameters
    ----------
    name
        the collection
    slug
        the schedule; all of them when left out
    reason
        why; it is shown in the list
    tenant
        whose it is
    """
    return _switch(name, slug, False, reason, tenant)


@schedule.command
def resume(name: str, slug: str | None = None, /, *, tenant: str = "default") -> int:
    """Switch a schedule on again, or all of a collection.

    Examples
        $ collect schedule resume tests
        $ collect schedule resume tests nightly

    Parameters
    ----------
    name
        the collection
    slug
        the schedule; all of them when left out
    tenant
        whose it is
    """
    return _switch(name, slug, True, None, tenant)


@schedule.command(name="next")
def next_(
    name: str,
    slug: str | None = None,
    /,
    *,
    count: Annotated[int, Parameter(show_default=True, validator=Number(gte=1, lte=1_000))] = 5,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show the next times at which a collection is due, where its schedules tell the time.

    Examples
        $ collect schedule next tests
        $ collect schedule next tests nightly --count 10

    Parameters
    ----------
    name
        the collection
    slug
        only this schedule
    count
        how many times
    tenant
        whose it is
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        _refuse_unknown(storage, tenant, name)
        rows = [row for row in storage.schedules.of(tenant, name) if slug in (None, row["slug"])]
        triggers = storage.registry.in_force(tenant, name)[1].triggers
    now = datetime.now(UTC)
    due = sorted((at, rule) for row in rows for rule in [rule_of(row)] for at in islice(rule.ticks(now), count))[:count]
    if row := next((row for row in rows if not row["active"]), None):
        say("{slug} is switched off; switch it on: collect schedule resume {name}", slug=row["slug"], name=name)
    found = [
        {"due": at.astimezone(ZoneInfo(rule.timezone)).isoformat(), "slug": rule.slug, "dark": triggers.is_dark(at)}
        for at, rule in due
    ]
    print_rows(found, {"DUE": "due", "SCHEDULE": "slug", "BLACKOUT": "dark"}, json)
    return 0


def _switch(name: str, slug: str | None, active: bool, reason: str | None, tenant: str) -> int:
    with open_storage(Settings.load()) as storage:
        _refuse_unknown(storage, tenant, name)
        switched = storage.schedules.switch(tenant, name, slug, active, reason)
    for each in switched:
        say("{name}/{slug} is switched on" if active else "{name}/{slug} is switched off", name=name, slug=each)
    return 0


def _refuse_unknown(storage: Storage, tenant: str, name: str) -> None:
    if storage.registry.registration(tenant, name) is None:
        raise not_registered(name)
