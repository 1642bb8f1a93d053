"""`storage`: where the stores are, whether they are well, and the tables they need."""

import secrets
from typing import Annotated

from cyclopts import App, Parameter

from blocks.addresses import ROLES, addresses, shown
from blocks.settings import KEYS, Settings
from collectors.language import spoken
from deployments.cli.output import print_json, print_rows, say

storage = App(name="storage")


@storage.command(name="set")
def set_(
    metadata: Annotated[str, Parameter(allow_leading_hyphen=False)] = "",
    documents: str = "",
    cache: str = "",
    queue: str = "",
    /,
    *,
    embedded: bool = False,
) -> int:
    """Use the full stack from now on: four addresses, each with its database in the path.

    They are kept in the file settings of the platform's folder, readable by its owner only, and in Prefect's blocks
    where a Prefect server is set.

    Examples
        $ collect storage set mysql+pymysql://USER:PASSWORD@HOST/DATABASE mongodb://HOST/DATABASE?replicaSet=rs0 \
redis://:PASSWORD@HOST/0 amqp://USER:PASSWORD@HOST/VHOST
        $ collect storage set --embedded

    Parameters
    ----------
    metadata
        MySQL or MariaDB: catalog, ledger and rows
    documents
        MongoDB, a replica set: the full detail of records
    cache
        Redis
    queue
        RabbitMQ
    embedded
        go back to the embedded stores; what the servers hold stays there
    """
    settings = Settings.load_file()
    kept = {name: value for name, value in settings.kept().items() if name not in ROLES}
    if embedded:
        settings.keep(kept)
        say("the embedded stores below {home} are used now", home=settings.home)
        return 0
    given = dict(zip(ROLES, (metadata, documents, cache, queue), strict=True))
    where = addresses(given)
    kept.setdefault(KEYS, f"k1:{secrets.token_hex(32)}")
    settings.keep({role: where[role] for role in ROLES} | kept)
    for role in ROLES:
        say("{role}: {address}", role=role, address=shown(where[role]))
    if settings.database.exists():
        say("what is in {home} stays there, and is not copied: collect it again", home=settings.home)
    _mirror({role: where[role] for role in ROLES} | {KEYS: kept[KEYS]}, settings)
    say("next: {command}", command="collect storage migrate")
    return 0


def _mirror(values: dict[str, str], settings: Settings) -> None:
    from deployments import prefect_server

    api = settings.prefect_api_url or prefect_server.running(settings)
    if not api or not prefect_server.healthy(api):
        say("no Prefect server answers: its blocks, which workers elsewhere read, are not written; do it again then")
        return
    prefect_server.use(settings)
    from blocks.storage import mirrored

    mirrored(values)
    say("Prefect's blocks at {api} are written", api=api)


@storage.default
@storage.command
def show(*, json: bool = False) -> int:
    """Show where the stores are, and where that is said.

    Examples
        $ collect storage show
        $ collect storage show --json

    Parameters
    ----------
    json
        print an array of objects
    """
    settings = Settings.load()
    files = {"metadata": settings.database, "documents": settings.documents}
    found = [
        {
            "role": role,
            "address": shown(settings.addresses[role]) if settings.addresses else str(files.get(role, "-")),
            "origin": settings.origin,
        }
        for role in ROLES
    ]
    print_rows(found, {"KEEPS": "role", "ADDRESS": "address", "SAID BY": "origin"}, json)
    return 0


@storage.command
def check(*, json: bool = False) -> int:
    """Ask each server whether it is there, lets us in and has what is needed; a line each. Exit code 1 if one is not.

    Examples
        $ collect storage check
        $ collect storage check --json

    Parameters
    ----------
    json
        print an array of objects
    """
    from blocks.checking import checked

    settings = Settings.load()
    if settings.addresses is None:
        say("the embedded stores are used; examine them with: collect doctor")
        return 0
    found = checked(settings)
    columns = {
        "KEEPS": "role",
        "ADDRESS": "address",
        "OUTCOME": lambda each: each["wrong"] or spoken("well ({version})", version=each["version"]),
    }
    print_rows(found, columns, json)
    return 1 if any(each["wrong"] for each in found) else 0


@storage.command
def migrate(*, json: bool = False) -> int:
    """Make the tables in the database, or bring them to what this version needs. Nothing is lost by it.

    Examples
        $ collect storage migrate

    Parameters
    ----------
    json
        print one JSON object
    """
    from blocks.sql.migrations import migrate as migrated
    from blocks.sql.mysql import MysqlDatabase

    settings = Settings.load()
    if settings.addresses is None:
        say("the embedded stores bring themselves up to date; nothing has to be done")
        return 0
    database = MysqlDatabase(settings.addresses.metadata)
    try:
        before, after = migrated(database)
    finally:
        database.close()
    if json:
        print_json({"before": before, "after": after})
    elif before == after:
        say("the tables are those of revision {after} already", after=after)
    else:
        say("the tables are those of revision {after} now", after=after)
    return 0
