"""`dev-servers`: private servers of the full stack on this machine."""

import shlex
from dataclasses import astuple
from typing import Any

from cyclopts import App

from blocks.settings import Settings
from deployments.cli.output import print_json, print_rows, say, show_field
from deployments.dev_servers.kinds import STORES
from deployments.dev_servers.stack import all_down, all_up, of_home

UP, BACK = "collect dev-servers up", "collect storage set --embedded"
dev_servers = App(name="dev-servers", help_format="plaintext")


@dev_servers.command
def up(*, json: bool = False) -> int:
    """Start MariaDB, MongoDB, Redis and RabbitMQ, and PostgreSQL where it is installed; they stay until down.

    Examples
        $ collect dev-servers up
        $ collect dev-servers up --json

    Parameters
    ----------
    json
        print their addresses as one JSON object
    """
    settings = Settings.load()
    settings.make_home()
    servers = of_home(settings.home)
    if not all(each.pid for each in servers):
        say("starting {servers} …", servers=", ".join(each.kind.title for each in servers if not each.pid))
    addresses = all_up(servers)
    if json:
        print_json(addresses)
        return 0
    for role, address in addresses.items():
        show_field(role, address, "")
    say(
        "use them: {command}",
        command=shlex.join(["collect", "storage", "set", *(addresses[each.role] for each in STORES)]),
    )
    say("then:     {command}", command="collect storage migrate")
    return 0


@dev_servers.command
def down() -> int:
    """End the servers that up has started; their data stays.

    Examples
        $ collect dev-servers down
    """
    settings = Settings.load()
    servers = [each for each in of_home(settings.home) if each.pid]
    all_down(servers)
    say("{count} servers ended", count=len(servers))
    if settings.addresses and {each.server.url for each in servers}.intersection(astuple(settings.addresses)):
        say("the stores are there again with: {up}; back to two files: {back}", up=UP, back=BACK)
    return 0


@dev_servers.default
@dev_servers.command
def status(*, json: bool = False) -> int:
    """Show which of the servers run.

    Examples
        $ collect dev-servers status --json

    Parameters
    ----------
    json
        print an array of objects
    """
    found: list[dict[str, Any]] = [
        {
            "role": each.kind.role,
            "server": each.kind.title,
            "state": "running" if each.pid else "stopped",
            "pid": each.pid,
            "url": each.server.url if each.known else None,
        }
        for each in of_home(Settings.load().home)
    ]
    columns = {
        "KEEPS": "role",
        "SERVER": "server",
        "STATE": "state",
        "PID": lambda each: str(each["pid"] or ""),
        "ADDRESS": "url",
    }
    print_rows(found, columns, json, whole=True)
    return 0
