"""JSON read exactly: what cannot be kept as it came is found, and laid to the one record that holds it.

A fast reader refuses a whole page for one wrong character, and silently rounds integers and drops repeated keys. It
reads what it provably does not alter; the rest is read once more, with an eye on every value.
"""

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from typing import Any

import orjson

from collectors.errors import Rejected

DEEPEST = 254  # levels of a whole answer; what orjson writes
LARGEST_INTEGER = 2**63 - 1
TOO_DEEP = "\0too deep"
SHOWN = 60

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * len(str(LARGEST_INTEGER))
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class Unkept(str):
    """A value that cannot be kept, as the source wrote it, and `why`."""

    why: Rejected


class Repeated(list):
    """The values of a key that came more than once."""

    why: Rejected


class Flawed(dict):
    """An object that holds, somewhere inside, what cannot be kept."""

    why: Rejected


def decoded(body: bytes) -> Any:
    """The value of a JSON text; objects that cannot be kept as they came are Flawed.

    Raises ValueError when the text is no JSON, or flawed outside of its records.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        value = orjson.loads(body)
        again = orjson.dumps(value)
    except (ValueError, TypeError):
        return _exactly(_cut(_text(body)))
    integers_kept = _MANY_DIGITS not in body.translate(_DIGITS)
    if integers_kept and (again == body or _keys_kept(body)):
        return value
    return _exactly(_text(body))


def flaw_outside_records(value: Any) -> Rejected | None:
    """What is wrong with an answer itself. An object in a list is taken for a record, which bears its flaw alone."""
    match value:
        case Flawed():
            return _first(map(flaw_outside_records, (*value, *value.values())))
        case list() if not isinstance(value, Repeated):
            return _first(flaw_outside_records(part) for part in value if not isinstance(part, dict))
    return _flaw(value)


def flaw(value: dict[str, Any]) -> Rejected | None:
    """What of an object cannot be kept."""
    return _first(map(_flaw, (*value, *value.values())))


def _keys_kept(body: bytes) -> bool:
    try:
        json.loads(body, object_pairs_hook=_once)
    except ValueError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key came more than once")
    return found


def _text(body: bytes) -> str:
    return body.decode(errors="surrogateescape")


def _exactly(text: str) -> Any:
    numbers = {"parse_int": _integer, "parse_float": _number, "parse_constant": _no_number}
    # Not strict: a control character that was not escaped says what it is all the same.
    value = json.loads(text, strict=False, object_pairs_hook=_object, **numbers)
    if why := flaw_outside_records(value):
        raise ValueError(why.what)
    return value


def _cut(text: str) -> str:
    """`text` without what is nested too deep for any reader; an object stands there that says so."""
    kept, depth, start = [], 0, 0
    for token in _TEXT_OR_BRACKET.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == DEEPEST + 1:
                sample = text[token.start() : token.start() + SHOWN]
                kept += [text[start : token.start()], json.dumps({TOO_DEEP: sample})]
                start = len(text)
        elif token[0] in ("]", "}"):
            if depth == DEEPEST + 1:
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]])


# ---- values ------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if isinstance(found.get(TOO_DEEP), str):
        return _unkept(found[TOO_DEEP], "too-deep", "is nested too deep, from {found}", "COL-0509")
    if len(found) < len(pairs):
        found = _together(pairs)
    if why := flaw(found):
        found = Flawed(found)
        found.why = why
    return found


def _together(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Repeated] = {}
    for key, value in pairs:
        values.setdefault(key, Repeated()).append(value)
        values[key].why = _refusal("repeated-key", "has the key {found} more than once", "COL-0508", key)
    return {key: found if len(found) > 1 else found[0] for key, found in values.items()}


def _integer(digits: str) -> Any:
    fits = len(digits) <= len(str(-LARGEST_INTEGER)) and -LARGEST_INTEGER - 1 <= int(digits) <= LARGEST_INTEGER
    text = "holds an integer beyond 64 bits, {found}"
    return int(digits) if fits else _unkept(digits, "huge-number", text, "COL-0507")


def _number(digits: str) -> Any:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


def _no_number(written: str) -> Unkept:
    return _unkept(written, "not-a-number", "holds {found}, which is no number", "COL-0506")


def _unkept(written: str, reason: str, what: str, code: str) -> Unkept:
    unkept = Unkept(written)
    unkept.why = _refusal(reason, what, code, written)
    return unkept


def _flaw(value: Any) -> Rejected | None:
    kind = type(value)
    if kind is str:
        return None if value.isascii() else _broken(value)
    if kind is list:
        return _first(map(_flaw, value))
    return value.why if kind in (Unkept, Repeated, Flawed) else None


def _broken(text: str) -> Rejected | None:
    if found := _SURROGATE.search(text):
        around = text[max(0, found.start() - 10) : found.end() + 10]
        return _refusal("broken-text", "holds text that is no Unicode: {found}", "COL-0505", around)
    return None


def _refusal(reason: str, what: str, code: str, found: str) -> Rejected:
    return Rejected(reason, what, code=code, found=repr(found[:SHOWN]))


def _first(flaws: Iterable[Rejected | None]) -> Rejected | None:
    return next(filter(None, flaws), None)
