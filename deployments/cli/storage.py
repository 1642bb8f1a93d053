"""`storage`: where the stores are, whether they are well, and the tables they need."""

from contextlib import closing
from dataclasses import asdict

from cyclopts import App

from blocks import settings_file
from blocks.addresses import ROLES, addresses, shown
from blocks.prefect_health import healthy
from blocks.production import refuse_unsafe
from blocks.settings import Settings
from collectors.language import spoken
from deployments import prefect_server
from deployments.cli.output import print_json, print_rows, say

storage = App(name="storage", help_format="plaintext")


@storage.command(name="set")
def set_(
    metadata: str = "", documents: str = "", cache: str = "", queue: str = "", /, *, embedded: bool = False
) -> int:
    """Use the full stack from now on: four addresses, each with its database in the path.

    They are kept in the file settings of the platform's folder, readable by its owner only, and in Prefect's blocks
    where a Prefect server runs.

    Examples
        $ collect storage set mysql+pymysql://USER:PASSWORD@HOST/DATABASE 'mongodb://HOST/DATABASE?replicaSet=rs0' \
redis://:PASSWORD@HOST/0 amqp://USER:PASSWORD@HOST/VHOST
        $ collect storage set --embedded

    Parameters
    ----------
    metadata
        MySQL or MariaDB: catalog, ledger and rows
    documents
        MongoDB, a replica set: the full detail of records
    cache
        Redis: copies of what is asked for most
    queue
        RabbitMQ: what was read, on its way to the stores
    embedded
        go back to the embedded stores; what the servers hold stays there
    """
    bare = Settings.of_home()
    kept = {name: value for name, value in (settings_file.read(bare.home) or {}).items() if name not in ROLES}
    bare.make_home()
    if embedded:
        settings_file.write(bare.home, kept)
        say("the embedded stores below {home} are used now", home=bare.home)
        _obeyed()
        return 0
    where = addresses(dict(zip(ROLES, (metadata, documents, cache, queue), strict=True)))
    settings_file.write(bare.home, {role: where[role] for role in ROLES} | kept)
    for role in ROLES:
        say("{role}: {address}", role=role, address=shown(where[role]))
    if bare.database.exists():
        say("what is in {home} stays there, and is not copied: collect it again", home=bare.home)
    _mirror(_obeyed())
    say("next: {command}", command="collect storage migrate")
    return 0


def _obeyed() -> Settings:
    """What holds now, which may be something else than the file says."""
    settings = Settings.load()
    if settings.origin == "environment":
        say("but COLLECT_METADATA and the like are set, and what they say is obeyed")
    return settings


@storage.command
def mirror() -> int:
    """Write the addresses that hold here into Prefect's blocks, for workers on other machines.

    Examples
        $ collect storage mirror
    """
    settings = _of_servers()
    if settings:
        _mirror(settings)
    return 0


def _mirror(settings: Settings) -> None:
    api = settings.prefect_api_url or prefect_server.running(settings)
    if not api or not healthy(api):
        command = "collect storage mirror"
        say("no Prefect server answers, so its blocks are not written; when one does: {command}", command=command)
        return
    prefect_server.use(settings)
    from blocks.storage import mirror as written

    written(settings)
    say("the blocks of Prefect at {api} are written", api=api)


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
    if settings.doubt:
        raise settings.doubt
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
    say("profile: {profile}", profile=settings.profile)
    if settings.signing_keys:
        first, *others = settings.signing_keys
        say("signing key: {first}; known beside it: {others}", first=first, others=", ".join(others) or "-")
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
    settings = _of_servers()
    if settings is None:
        if json:
            print_json([])
        return 0
    from blocks.checking import checked

    found = [asdict(each) for each in checked(settings)]
    columns = {
        "KEEPS": "role",
        "ADDRESS": "address",
        "OUTCOME": lambda each: each["wrong"] or spoken("well ({version})", version=each["version"]),
    }
    print_rows(found, columns, json, whole=True)
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
    settings = _of_servers()
    before, after = _migrated(settings) if settings else (None, None)
    if json:
        print_json({"before": before, "after": after})
    elif settings and before == after:
        say("the tables are those of revision {after} already", after=after)
    elif settings:
        say("the tables are those of revision {after} now", after=after)
    return 0


def _migrated(settings: Settings) -> tuple[str | None, str]:
    from blocks.sql.migrations import migrate as migrated
    from blocks.sql.mysql import MysqlDatabase

    refuse_unsafe(settings)
    with closing(MysqlDatabase(settings.addresses.metadata)) as database:
        return migrated(database)


def _of_servers() -> Settings | None:
    """None where there are no servers, which is said."""
    settings = Settings.load()
    if settings.doubt:
        raise settings.doubt
    if settings.addresses:
        return settings
    say("the embedded stores are used; they need nothing of this, and collect doctor examines them")
    return None
