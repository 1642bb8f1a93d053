"""`history` and `diff`: what a record was, and what became of all of them between two moments."""

from collections import Counter
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.language import spoken
from deployments.cli.choosing import meant, wanted
from deployments.cli.output import print_rows, say
from deployments.cli.showing import only
from deployments.moments import as_numbered, earlier_gone, in_order, moment_of, past_of, told, versions_of

DIFFERENCES = {"change": "change", "kind": "kind", "id": "id", "what": lambda row: _in_words(row)}
VERSIONS = {"at": "at", "run": "run_id", "change": lambda row: _change(row), "name": "name", "path": "path"}


def history(
    id: str,
    /,
    *,
    collection: str | None = None,
    kind: Literal["directory", "case"] | None = None,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show what a record was: each version that was replaced, and the present one, oldest first.

    Examples
        $ collect history ID --collection demo --kind case
        $ collect history ID --collection demo --kind case --json

    Parameters
    ----------
    id
        the record's id, as collect export and the source have it
    collection
        only in this collection, where several have the id
    kind
        only a directory or a case, where both have the id
    tenant
        whose record
    json
        print an array of versions, each in full
    """
    with open_storage(Settings.load()) as storage:
        found = [
            {"collection": name, "kind": of_kind, "versions": versions}
            for name, of_kind in wanted(storage, collection, kind, tenant)
            if (versions := past_of(storage, tenant, name).history(of_kind, id))
        ]
    versions = only(found, id, "history")["versions"]
    print_rows(versions_of(versions), VERSIONS, json, whole=True)
    if earlier_gone(versions[0]):
        say("what it was before is not kept any more (retention.history_days)")
    return 0


def _change(row: dict[str, Any]) -> str:
    word = row["change"]
    return spoken(word) + (f" ({', '.join(row['fields'])})" if row["fields"] else "")


def diff(
    name: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str | None = None,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Show what was added, changed, moved and deleted between the ends of two runs, or between two times.

    Examples
        $ collect diff demo --from RUN
        $ collect diff demo --from RUN --to RUN --json

    Parameters
    ----------
    name
        the collection
    from_
        a run, or a time with its zone
    to
        a run, or a time with its zone; now when left out
    tenant
        whose collection
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        past = past_of(storage, tenant, meant(storage, name, tenant))
        before, after = moment_of(past, from_), moment_of(past, to) if to else past.now()
        in_order(before, after)
        found = [told(each) for each in sorted(past.differences(before, after), key=as_numbered)]
    print_rows(found, DIFFERENCES, json, whole=True)
    counts = Counter(each["change"] for each in found)
    said = spoken(", ").join(f"{counts[change]:,} {spoken(change)}" for change in sorted(counts))
    say("{count} differences: {said}" if counts else "no differences", count=f"{len(found):,}", said=said)
    return 0


def _in_words(row: dict[str, Any]) -> str:
    before, after = row["before"], row["after"]
    place = (after or before)["path"] or (after or before)["name"]
    fields = f" ({', '.join(row['fields'])})" if row["fields"] else ""
    if {"parent_id", "name"} & {*row["fields"]}:
        return f"{before['path'] or before['name']} → {place}{fields}"
    return place + fields
