"""A record as it is sent and exported: a JSON object alone on a line, in a list, or in a tree of such nodes. Pure."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from collectors.errors import Rejected
from collectors.exact_json import Flawed, decoded, flaw
from collectors.models import Record
from collectors.reading import invalid

OWN = frozenset(Record.model_fields)
DERIVED = frozenset({"path", "version", "content_hash"})  # what an export tells beside, and nobody can set
CHILDREN = "children"


class Node(NamedTuple):
    """`value` is the node without those below it, Flawed if it cannot be kept; `pointer` says where it stands."""

    pointer: str
    value: Any


def decoded_one(text: bytes) -> Any:
    """The one value of a JSON text, exactly; objects in it that cannot be kept are Flawed. Raises ValueError."""
    # In a list an object bears its flaws itself, as a record does that stands among others.
    found = decoded(b"[%s]" % text.removeprefix(BOM_UTF8))
    if len(found) != 1:
        raise ValueError("it is not one value")
    return found[0]


def record(value: Any) -> Record:
    """Raises Rejected that says what is wrong with it, and with which record where it says so."""
    try:
        return _record(value)
    except Rejected as error:
        id = value.get("id") if isinstance(value, dict) else None
        error.record_id = error.record_id or (str(id) if isinstance(id, str | int) else None)
        raise


def _record(value: Any) -> Record:
    if isinstance(value, Flawed):
        raise value.why
    if not isinstance(value, dict):
        raise Rejected("no-object", "is no JSON object: {found}", code="COL-0514", found=f"{value!r:.60}")
    if unknown := sorted(value.keys() - OWN - DERIVED):
        raise Rejected(
            "unknown-key",
            "has keys that mean nothing: {unknown}. Known: {known}",
            code="COL-0515",
            unknown=", ".join(unknown)[:200],
            known=", ".join(sorted(OWN)),
        )
    try:
        found = Record(**{name: value[name] for name in OWN & value.keys()})
        found.content_hash  # noqa: B018 - what is too large or too deep is refused now
        return found
    except ValidationError as error:
        raise invalid(error) from None


def flattened(top: Any) -> Iterator[Node]:
    """The nodes of a tree or a list, each before those below it; what is nested takes its parent from there.

    `top` is one node or a list of them.
    """
    left = [_placed("", None, top) if isinstance(top, list) else iter([("", None, top)])]
    while left:
        pointer, above, value = next(left[-1], (None, None, None))
        if pointer is None:
            left.pop()
        elif isinstance(value, dict):
            own, below = _own(above, value)
            yield Node(pointer, own)
            left.append(_placed(f"{pointer}/{CHILDREN}", own, below))
        else:
            yield Node(pointer, value)


def _placed(pointer: str, above: dict[str, Any] | None, nodes: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    return ((f"{pointer}/{number}", above, node) for number, node in enumerate(nodes))


def _own(above: dict[str, Any] | None, value: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The node alone, and those below it: one that is wrong has none."""
    own = {name: part for name, part in value.items() if name != CHILDREN}
    below = value.get(CHILDREN, [])
    if CHILDREN in value:
        own = {"kind": "directory"} | own
    if above is not None:
        own = {"parent_id": above.get("id")} | own
    if why := flaw(own) or _misplaced(above, own, below):
        own = Flawed(own)
        own.why = why
    return own, below if isinstance(below, list) and own.get("kind") != "case" else []


def _misplaced(above: dict[str, Any] | None, own: dict[str, Any], below: Any) -> Rejected | None:
    if above is not None and own["parent_id"] != above.get("id"):
        what = "lies below {above} and says that its parent is {parent}"
        facts = {"above": f"{above.get('id')!r:.100}", "parent": f"{own['parent_id']!r:.100}"}
        return Rejected("two-parents", what, code="COL-0516", **facts)
    if not isinstance(below, list) or (below and own.get("kind") == "case"):
        return Rejected("no-children", "has children that are no list, or is a case", code="COL-0517")
    return None
