"""`watermark` and `epoch`: up to which time of its source a collection is complete, and how to begin anew."""

from typing import Annotated

from cyclopts import App, Parameter

from blocks.reports import moment
from blocks.settings import Settings
from blocks.stores import open_storage
from deployments.cli.output import print_json, say
from deployments.definitions import known
from deployments.marking import mark_of, set_to

watermark = App(name="watermark", help="Show, set or reset up to which time of its source a collection is complete.")


@watermark.default
@watermark.command(name="show")
def show_(name: str, /, *, tenant: str = "default", json: bool = False) -> int:
    """Show the watermark of a collection: where its next incremental run begins.

    Examples
        $ collect watermark show demo

    Parameters
    ----------
    name
        the collection
    tenant
        whose it is
    json
        print one JSON object
    """
    with open_storage(Settings.load()) as storage:
        known(name, storage.registry, tenant)
        mark = storage.watermarks.of(tenant, name)
    if json:
        print_json(mark_of(name, mark))
    elif mark.value is None:
        say("{name} has no watermark: its next incremental run reads everything", name=name)
    elif mark.moved_by is None:
        say(
            "the next incremental run of {name} reads what changed since {moment}", name=name, moment=moment(mark.value)
        )
    else:
        said = {"moment": moment(mark.value), "run": mark.moved_by}
        say("{name} is complete up to {moment} of its source (run {run})", name=name, **said)
    return 0


@watermark.command(name="set")
def set_(name: str, time: str, /, *, tenant: str = "default") -> int:
    """Set the watermark, also backwards: the next incremental run reads what changed since then.

    Examples
        $ collect watermark set demo 2026-01-01T00:00:00Z

    Parameters
    ----------
    name
        the collection
    time
        a time of the source with its zone, or seconds since 1970
    tenant
        whose it is
    """
    with open_storage(Settings.load()) as storage:
        set_to(storage, tenant, name, time)
    return show_(name, tenant=tenant)


@watermark.command
def reset(name: str, /, *, tenant: str = "default") -> int:
    """Take the watermark away: the next incremental run reads everything.

    Examples
        $ collect watermark reset demo

    Parameters
    ----------
    name
        the collection
    tenant
        whose it is
    """
    with open_storage(Settings.load()) as storage:
        known(name, storage.registry, tenant)
        storage.watermarks.set(tenant, name, None)
    return show_(name, tenant=tenant)


def epoch(
    name: str,
    /,
    *,
    bump: Annotated[bool, Parameter(negative="")] = False,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show how often a collection began anew; or begin anew, after its source was restored from a backup.

    From then on whatever is read is newer than all that is known. Collect it in full afterwards.

    Examples
        $ collect epoch demo
        $ collect epoch demo --bump

    Parameters
    ----------
    name
        the collection
    bump
        begin anew, and forget the watermark
    tenant
        whose it is
    json
        print one JSON object
    """
    with open_storage(Settings.load()) as storage:
        known(name, storage.registry, tenant)
        number = storage.watermarks.bump(tenant, name) if bump else storage.watermarks.of(tenant, name).epoch
    if json:
        print_json({"collection": name, "epoch": number})
    else:
        say("{name} is in epoch {number}", name=name, number=number)
    return 0
