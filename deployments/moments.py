"""Moments as people write them, and what is told of two of them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from blocks.past import Moment, Past, in_full
from blocks.stores import Storage
from collectors.errors import Misconfigured, Refused
from collectors.history import Difference, difference
from collectors.models import KINDS, Document, Retention
from collectors.states import OPEN_RUNS

A_RUN = r"[0-9a-f]{8}"
EARLIEST = 1970
LOST_PLUS = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")


def time_of(text: str) -> datetime:
    """Raises Misconfigured."""
    text = LOST_PLUS.sub(r"\1+\2", text)  # in an address a plus means a space
    try:
        found = datetime.fromtimestamp(float(text), UTC) if _is_number(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None or found.tzinfo is None:
        raise Misconfigured(
            "{text} is no time with a zone",
            "Write it as 2026-01-01T00:00:00+08:00.",
            code="COL-0273",
            text=f"{text:.60}",
        )
    if found.year < EARLIEST:
        raise Misconfigured(
            "{text} is no time with a zone after {earliest}",
            "Write it as 2026-01-01T00:00:00+08:00.",
            code="COL-0273",
            text=f"{text:.60}",
            earliest=EARLIEST,
        )
    return found


def moment_of(past: Past, text: str) -> Moment:
    """A time with its zone, or the end of a run of the collection. Raises Misconfigured or Refused."""
    if not re.fullmatch(A_RUN, text):
        return _at(text)
    run = past.storage.catalog.run(text, past.tenant)
    if run["collection"] != past.collection:
        raise Misconfigured(
            "run {run} is one of {other}, not of {collection}",
            "List its runs: collect status --collection {collection}",
            code="COL-0275",
            run=text,
            other=run["collection"],
            collection=past.collection,
        )
    if run["state"] in OPEN_RUNS:
        raise Refused(
            "run {run} has not ended: it is {state}",
            "Wait for its end: collect status {run}",
            code="COL-0424",
            run=text,
            state=run["state"],
        )
    return Moment(run["ended_at"], text)


def _at(text: str) -> Moment:
    found = time_of(text) if text[:1].isdecimal() and not _is_number(text) else None
    if found is None or found > datetime.now(UTC):
        raise Misconfigured(
            "{text} is neither a run nor a time that has passed",
            "Write a time as 2026-01-01T00:00:00+08:00; list the runs: collect status.",
            code="COL-0279",
            text=f"{text:.60}",
        )
    return Moment(int(found.timestamp() * 1_000_000))


def in_order(before: Moment, after: Moment) -> None:
    """Raises Misconfigured when the first one comes last."""
    if before.at > after.at:
        raise Misconfigured(
            "the end comes before the beginning", "Name the earlier run or time first.", code="COL-0276"
        )


def past_of(storage: Storage, tenant: str, name: str) -> Past:
    definition = storage.registry.definition(tenant, name)
    return Past(storage, tenant, name, definition.retention if definition else Retention())


def versions_of(found: Sequence[Document]) -> list[dict[str, Any]]:
    """The shape of `collect history --json`, and of the service: each version in full, and what it was beside the one
    before."""
    before, told = None, []
    for each in found:
        now = None if each.deleted else each
        what = difference(each.kind, each.id, before, now, known=bool(told))
        change = "changed" if not told and now and earlier_gone(each) else what.change if what else None
        change = change or ("deleted" if each.deleted else "unchanged")
        told.append(in_full(each) | {"change": change, "fields": list(what.fields) if what else []})
        before = now
    return told


def earlier_gone(first: Document) -> bool:
    """Whether it was something else before the first version that is known."""
    return first.created_at // 1_000 != first.updated_at // 1_000  # as MongoDB keeps them


def as_numbered(each: Difference) -> tuple[int, bool, int, str]:
    """What differences are ordered by: ids that are numbers as such, others after them."""
    numbered = each.id.isascii() and each.id.isdecimal()
    return KINDS.index(each.kind), not numbered, int(each.id) if numbered else 0, each.id


def told(each: Difference) -> dict[str, Any]:
    """The shape of `collect diff --json`, and of the service."""
    there = {"kind": each.kind, "id": each.id, "change": each.change, "fields": list(each.fields)}
    return there | {"before": _place(each.before), "after": _place(each.after)}


def _place(each: Document | None) -> dict[str, Any] | None:
    return each and {"parent_id": each.parent_id, "name": each.name, "path": each.path}


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()
