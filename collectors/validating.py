"""Values as models, and what is said of those that do not fit: every wrong key, and the nearest right one."""

import difflib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from collectors.errors import Misconfigured
from collectors.language import spoken
from collectors.models import Collection, Mode, Scope

HOW_TO_FIND_KEYS = "Keys of a source: collect collectors show NAME; all keys: collect init FILE writes them down."
HOW_TO_SAY_A_PART = "Name a part by under, ids, since or until; or all of it by mode full or incremental."
HOW_TO_WRITE_A_PART = (
    "Numbers are one, as 100, or a range, as 100..200, 100.. or ..200; a list is none. Times have their zone, as "
    "2026-01-01T00:00:00+08:00, the earlier one first."
)
QUOTED = (bool, int, float, date, datetime)
KINDS = {
    type(None): "nothing", bool: "yes or no", int: "a number", float: "a number", str: "text", date: "a date",
    datetime: "a date", list: "a list", dict: "further keys",
}  # fmt: skip


def of_mode(collection: Collection, mode: Mode, scope: Scope) -> Collection:
    """The collection as one of its runs is about it, which is due by no schedule. Raises Misconfigured when mode and
    scope do not fit."""
    refuse_to_come(scope)
    own = {"mode": mode, "scope": scope.model_dump(), "schedule": ()}
    return validated(Collection, collection.model_dump() | own, "")


def refuse_to_come(scope: Scope) -> None:
    """Raises Misconfigured for a range that begins after now: it looks like success, whatever changes."""
    if scope.since and scope.since > datetime.now(UTC):
        raise Misconfigured(
            "since {time} lies in the future: nothing can have changed after it",
            "Name a time that has passed.",
            code="COL-0274",
            time=scope.since.isoformat(),
        )


def nearest(word: str, words: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return spoken("Did you mean {word}? ", word=found[0]) if found else ""


def validated(model: type[BaseModel], values: Any, where: str) -> Any:
    """`values` as `model`. Raises Misconfigured that names every wrong key below `where`, and the nearest right one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = spoken("; ").join(_explained(model, each, where) for each in error.errors(include_url=False))
        remedy = _remedy({each["loc"][:1] for each in error.errors(include_url=False)})
        raise Misconfigured("{mistakes}", remedy, code="COL-0235", mistakes=mistakes) from None


def _remedy(keys: set[tuple[Any, ...]]) -> str:
    """By the outermost keys in which something is wrong; none where keys do not fit each other."""
    if keys == {("scope",)}:
        return HOW_TO_WRITE_A_PART
    return HOW_TO_SAY_A_PART if keys <= {(), ("scope",), ("mode",)} else HOW_TO_FIND_KEYS


def _explained(model: type[BaseModel], error: Any, where: str) -> str:
    path = ".".join([where, *(str(part) for part in error["loc"])]).strip(".")
    if error["type"] == "extra_forbidden":
        return _unknown(path, str(error["loc"][-1]), _fields(model, error["loc"][:-1]))
    if error["type"] == "missing":
        return spoken("{path} is missing", path=path)
    said = _said(error) + _found(error, where)
    return f"{path}: {said}" if path else said


def _said(error: Any) -> str:
    if error["type"].startswith(("timezone", "datetime")):
        return spoken("is no time with a zone, such as 2026-01-01T00:00:00+08:00")
    if error["type"] == "string_pattern_mismatch" and error["loc"] == ("scope", "ids"):
        return spoken("are neither one number nor a range, such as 100..200, 100.. or ..200")
    return plain(error["msg"])


def plain(message: str) -> str:
    """What a validator said, without what pydantic puts before it."""
    said = message.removeprefix("Value error, ")
    return spoken(said)


def _found(error: Any, where: str) -> str:
    """What stands there instead, or only of which kind it is where it may be a secret."""
    value = error["input"]
    if not where and error["loc"][:1] == ("strategy",):
        return spoken(" (found {found})", found=f"{value!r:.60}")
    if not error["type"].endswith("_type"):
        return ""
    kind = spoken(KINDS.get(type(value), "something else"))
    if error["type"] == "string_type" and type(value) in QUOTED:
        return spoken(" (found {found}; quote it)", found=kind)
    return spoken(" (found {found})", found=kind)


def _unknown(path: str, word: str, known: list[str]) -> str:
    if not known:
        return spoken("unknown key {path!r}", path=path)
    guess = nearest(word, known)
    return spoken("unknown key {path!r}. {guess}Known here: {known}", path=path, guess=guess, known=", ".join(known))


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        found = getattr(model, "model_fields", {}).get(part)
        model = next(iter(get_args(model)), None) if isinstance(part, int) else found and found.annotation
    return list(getattr(model, "model_fields", ()))
