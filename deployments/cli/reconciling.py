"""`reconcile`: whether the stores of a collection say the same."""

from dataclasses import asdict

from blocks.reconciling import NO_ROW, differences, discard, make_due
from blocks.settings import Settings
from blocks.stores import open_storage
from deployments.cli.choosing import meant
from deployments.cli.output import print_rows, say
from deployments.cli.running import run

DIFFERENT = 1


def reconcile(collection: str, /, *, repair: bool = False, tenant: str = "default", json: bool = False) -> int:
    """Compare rows, documents and cached copies of a collection, and show what differs: exit code 1 then.

    Examples
        $ collect reconcile demo
        $ collect reconcile demo --json

    Parameters
    ----------
    collection
        name of the collection
    repair
        collect it again, and write anew what differed; documents that have no row even then are taken away
    tenant
        whose collection
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        name = meant(storage, collection, tenant)
        found = differences(storage, tenant, name)
        if repair and found:
            make_due(storage, tenant, name, found)
    print_rows([asdict(each) for each in found], {"KIND": "kind", "ID": "id", "WHAT": "what"}, json)
    if not found:
        say("rows, documents and cache of {collection} say the same", collection=name)
        return 0
    if not repair:
        say("{count} records differ; write them anew with: {command}", count=len(found), command=_command(name, tenant))
        return DIFFERENT
    say("{count} records differ; the collection is collected again", count=len(found))
    ended = run(name, tenant=tenant)
    with open_storage(Settings.load()) as storage:
        left = differences(storage, tenant, name)
        orphans = [each for each in left if each.what == NO_ROW and ended == 0]
        discard(storage, tenant, name, orphans)
    if orphans:
        say("{count} documents without a row, and unknown to the source, were taken away", count=len(orphans))
    if left := [each for each in left if each not in orphans]:
        say("{count} records differ still: the source does not have them, or has an older version", count=len(left))
    return ended or (DIFFERENT if left else 0)


def _command(name: str, tenant: str) -> str:
    return f"collect reconcile {name} --repair" + ("" if tenant == "default" else f" --tenant {tenant}")
