"""`audit`: who did what, and whether that stands as it was written."""

import re
from typing import Any

from cyclopts import App

from blocks.reports import moment
from blocks.settings import Settings
from blocks.sql.audit_chain import Anchor, Fault
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from deployments.cli.choosing import Limit
from deployments.cli.output import print_json, print_rows, say, show

ANCHOR = re.compile(r"(\d{1,18}):([0-9a-f]{64})")

audit = App(name="audit", help="Show who did what, and verify that nothing of it was changed.")


@audit.default
@audit.command(name="list")
def list_(*, tenant: str | None = None, limit: Limit = 50, json: bool = False) -> int:
    """Show who did what, newest first.

    Examples
        $ collect audit list
        $ collect audit list --limit 5 --json

    Parameters
    ----------
    tenant
        only what was done to this one's
    limit
        the most entries to show
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        found = [each | {"at": moment(each["at"])} for each in storage.audit.entries(tenant, limit)]
    columns = {
        "NUMBER": "number", "WHEN": "at", "WHO": "actor", "TENANT": "tenant", "ACTION": "action", "SUBJECT": "subject",
        "DETAILS": _details,
    }  # fmt: skip
    print_rows(found, columns, json)
    return 0


@audit.command
def verify(*, anchor: str | None = None, json: bool = False) -> int:
    """Find out whether every entry stands as it was written, and print the anchor of the last one: NUMBER:SEAL.

    Keep an anchor elsewhere: who takes away the newest entries and brings back what the database had before them is
    found by that alone. Exit code 1 when something is wrong.

    Examples
        $ collect audit verify
        $ collect audit verify --anchor NUMBER:SEAL

    Parameters
    ----------
    anchor
        what an earlier verify has printed: that entry, and so all before it, have to be there still
    json
        print one JSON object
    """
    known = _anchor(anchor) if anchor is not None else None
    with open_storage(Settings.load()) as storage:
        found = storage.audit.verify(known)
    last = found.last and f"{found.last.number}:{found.last.seal}"
    if json:
        faults = [{"how": each.how, "number": each.number, "other": each.other} for each in found.faults]
        print_json({"whole": not faults, "entries": found.entries, "anchor": last, "faults": faults})
        return 1 if faults else 0
    for each in found.faults:
        say(_said(each))
    if last:
        show(last)
    if not found.faults:
        say("{count:,} entries stand as they were written", count=found.entries)
    return 1 if found.faults else 0


def _details(each: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in each["details"].items())


def _anchor(text: str) -> Anchor:
    found = ANCHOR.fullmatch(text)
    if not found:
        raise Misconfigured(
            "{text} is no anchor of the audit",
            "Write it as it was printed, NUMBER:SEAL: collect audit verify",
            code="COL-0292",
            text=f"{text!r:.100}",
        )
    return Anchor(int(found[1]), found[2])


def _said(fault: Fault) -> str:
    facts = {"number": fault.number, "other": fault.other}
    match fault.how, fault.number, fault.other:
        case "edited", None, _:
            return spoken("the end was edited: what stood after the last entry may be cut off")
        case "edited", _, _:
            return spoken("entry {number} was edited, or made up", **facts)
        case "missing", _, _:
            return spoken("entries {number} to {other} are missing", **facts)
        case "out-of-order", _, _:
            return spoken("entry {number} is out of order: it was entry {other}", **facts)
        case "unknown-key", None, _:
            return spoken("the end cannot be verified: its key {other} is not known here", **facts)
        case "unknown-key", _, _:
            return spoken("entry {number} cannot be verified: its key {other} is not known here", **facts)
        case "not-the-anchor", _, _:
            return spoken("entry {number} is not there as the anchor has it", **facts)
    return _cut_off(fault)


def _cut_off(fault: Fault) -> str:
    if fault.number is None:
        return spoken("the end is not there: what stood after the last entry may be cut off")
    if fault.other is None:
        return spoken("what stood before entry {number} was cut off, with the end", number=fault.number)
    return spoken("entries {number} to {other} are cut off", number=fault.number, other=fault.other)
