"""`keys`: who may ask the service for what."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from blocks.reports import moment
from blocks.settings import Settings
from blocks.sql.keys import Role
from blocks.stores import open_storage
from deployments.cli.output import print_json, print_rows, say, show

Days = Annotated[int, Parameter(show_default=True, validator=Number(gte=1, lte=3_650))]
Hours = Annotated[int, Parameter(show_default=True, validator=Number(gte=0, lte=8_760))]

keys = App(name="keys", help="Make, list, rotate and revoke keys of the service.")


@keys.command
def create(
    *,
    role: Literal["viewer", "operator", "admin"],
    name: str = "",
    days: Days = 90,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Make a key, and print it. It is kept nowhere, and cannot be shown again.

    Examples
        $ collect keys create --role viewer
        $ collect keys create --role operator --name nightly-import --days 30 --json

    Parameters
    ----------
    role
        viewer reads, operator also imports and starts runs, admin may do everything
    name
        what it is for
    days
        after so many days it is not valid any more
    tenant
        whose records and runs it may see
    json
        print one JSON object
    """
    with open_storage(Settings.load()) as storage:
        key, key_id = storage.keys.create(tenant, Role[role.upper()], name, days)
    if json:
        print_json({"key": key, "key_id": key_id, "role": role, "tenant": tenant, "days": days})
        return 0
    show(key)
    say("this is the only time it is shown; revoke it with: collect keys revoke {key}", key=key_id)
    return 0


@keys.default
@keys.command(name="list")
def list_(*, tenant: str | None = None, json: bool = False) -> int:
    """List the keys, without what is secret of them.

    Examples
        $ collect keys list
        $ collect keys list --json

    Parameters
    ----------
    tenant
        only those of this one
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        found = [_shown(each) for each in storage.keys.all(tenant)]
    columns = {
        "KEY": "key_id", "TENANT": "tenant", "ROLE": "role", "VALID": "valid", "UNTIL": "expires_at", "NAME": "name",
    }  # fmt: skip
    print_rows(found, columns, json)
    return 0


@keys.command
def revoke(key: str, /) -> int:
    """Make a key invalid, within five seconds.

    Examples
        $ collect keys revoke KEY

    Parameters
    ----------
    key
        its id, as collect keys list shows it, or the key itself
    """
    with open_storage(Settings.load()) as storage:
        storage.keys.revoke(key)
    say("{key} is not valid any more", key=key)
    return 0


@keys.command
def rotate(key: str, /, *, hours: Hours = 24, days: Days = 90, json: bool = False) -> int:
    """Make a key that takes the place of another one, with its tenant, role and name, and print it.

    Both are valid for a while, so that whoever uses the old one can change to the new one.

    Examples
        $ collect keys rotate KEY
        $ collect keys rotate KEY --hours 0

    Parameters
    ----------
    key
        the old one: its id, as collect keys list shows it, or the key itself
    hours
        after so many hours the old one is not valid any more; 0 ends it now
    days
        after so many days the new one is not valid any more
    json
        print one JSON object
    """
    with open_storage(Settings.load()) as storage:
        new, key_id = storage.keys.rotate(key, days, hours)
    if json:
        print_json({"key": new, "key_id": key_id, "days": days, "hours": hours})
        return 0
    show(new)
    say("this is the only time it is shown; revoke it with: collect keys revoke {key}", key=key_id)
    say("the old one is valid for {hours} hours more at most", hours=hours)
    return 0


def _shown(each: dict[str, Any]) -> dict[str, Any]:
    times = {name: moment(each[name]) for name in ("created_at", "expires_at", "revoked_at")}
    return each | times | {"valid": bool(each["valid"])}
