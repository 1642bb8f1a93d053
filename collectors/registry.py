"""Which collectors there are: the built-in ones, and those of installed plug-ins."""

import difflib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import date, datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from collectors.errors import Misconfigured
from collectors.interfaces import Collector
from collectors.language import spoken
from collectors.models import IMPORT, Collection, Mode, Scope
from collectors.outbound import Http
from collectors.pacing import Pace

REFERENCE = "env:"
HOW_TO_FIND_KEYS = "Keys of a source: collect collectors show NAME; all keys: collect init FILE writes them down."
HOW_TO_SAY_A_PART = "Name a part by under, ids, since or until; or all of it by mode full or incremental."
DISTRIBUTION = "platform-collect"
GROUP = "platform_collect.collectors"
QUOTED = (bool, int, float, date, datetime)
KINDS = {
    type(None): "nothing", bool: "yes or no", int: "a number", float: "a number", str: "text", date: "a date",
    datetime: "a date", list: "a list", dict: "further keys",
}  # fmt: skip
BUILT_IN = {"kiwi": "collectors.sources.kiwi:Kiwi", "testrail": "collectors.sources.testrail:TestRail"}
ABILITIES = ("connection", "survey", "fetch", "map")


def names() -> list[str]:
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def load(name: str) -> type[Collector]:
    """The collector's class. Raises Misconfigured when none or several have that name, or the one cannot be used."""
    if name == IMPORT:
        raise Misconfigured(
            "what is imported is sent, and not collected: there is no source to ask",
            "Send it: POST /api/testcase/import, see docs/service.md",
            code="COL-0237",
        )
    match _offered(name):
        case []:
            raise Misconfigured(
                "there is no collector {name!r}",
                "{guess}List them with: collect collectors",
                code="COL-0230",
                name=name,
                guess=nearest(name, names()),
            )
        case [point]:
            return _whole(name, point)
        case points:
            raise Misconfigured(
                "several installed packages offer a collector {name!r}: {origins}",
                "Uninstall all but one of them, or have one of them renamed in its entry point.",
                code="COL-0232",
                name=name,
                origins=", ".join(sorted(_origin(point) for point in points)),
            )


def _offered(name: str) -> list[EntryPoint]:
    built_in = [EntryPoint(name, BUILT_IN[name], GROUP)] if name in BUILT_IN else []
    return [*built_in, *entry_points(group=GROUP, name=name)]


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else DISTRIBUTION} ({point.value})"


def _whole(name: str, point: EntryPoint) -> type[Collector]:
    found = _imported(name, point)
    if missing := lacking(found):
        raise Misconfigured(
            "collector {name!r} of {origin} is no collector: it has no {missing}",
            "See docs/writing-a-collector.md for what a collector has to offer.",
            code="COL-0233",
            name=name,
            origin=_origin(point),
            missing=", ".join(missing),
        )
    return found


def _imported(name: str, point: EntryPoint) -> Any:
    """A module that ends the process while it is imported (SystemExit) has failed; Ctrl-C is for the process."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise Misconfigured(
            "collector {name!r} of {origin} cannot be imported ({why})",
            "Install what it needs, or uninstall it.",
            code="COL-0231",
            name=name,
            origin=_origin(point),
            why=f"{type(error).__name__}: {error}".partition("\n")[0],
        ) from error


def lacking(found: Any) -> list[str]:
    """What `found` has to offer and does not, to be a collector."""
    if not isinstance(found, type):
        return ["class"]
    parameters = getattr(found, "Parameters", None)
    if not (isinstance(parameters, type) and issubclass(parameters, BaseModel)):
        wrong = ["Parameters"]
    else:
        wrong = [] if "base_url" in parameters.model_fields else ["Parameters.base_url"]
    return wrong + [name for name in ABILITIES if not _offers(found, name)]


def _offers(found: type, ability: str) -> bool:
    """Whether it has one of its own: who inherits from the protocol has inherited empty ones."""
    own = getattr(found, ability, None)
    return callable(own) and own is not getattr(Collector, ability)


@asynccontextmanager
async def connected(
    collection: Collection, lookup: Callable[[str], str | None]
) -> AsyncIterator[tuple[Collector, Http]]:
    """The collection's collector, ready to ask its source. `lookup` resolves `env:NAME` in the source's parameters."""
    collector = load(collection.collector)
    parameters = checked_source(collection, lookup)
    strategy, connection = collection.strategy, collector.connection(parameters)
    async with Http(parameters.base_url, strategy.retry, Pace(), strategy.timeout, **connection) as http:
        yield collector(parameters, http, strategy.page_size), http


def of_mode(collection: Collection, mode: Mode, scope: Scope) -> Collection:
    """The collection as one of its runs is about it. Raises Misconfigured when mode and scope do not fit."""
    return validated(Collection, collection.model_dump() | {"mode": mode, "scope": scope.model_dump()}, "")


def checked_source(collection: Collection, lookup: Callable[[str], str | None]) -> Any:
    """The source's parameters. Raises Misconfigured for a wrong key or value, or a variable that is not set."""
    resolved = {key: _resolved(key, value, lookup) for key, value in collection.source.items()}
    return validated(load(collection.collector).Parameters, resolved, "source")


def _resolved(key: str, value: Any, lookup: Callable[[str], str | None]) -> Any:
    if not isinstance(value, str) or not value.startswith(REFERENCE):
        return value
    name = value.removeprefix(REFERENCE)
    if (found := lookup(name)) is None:
        raise Misconfigured(
            "source.{key} refers to the environment variable {name}, which is not set",
            "Set it: export {name}=...",
            code="COL-0234",
            key=key,
            name=name,
        )
    return found


def nearest(word: str, words: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return spoken("Did you mean {word}? ", word=found[0]) if found else ""


def validated(model: type[BaseModel], values: Any, where: str) -> Any:
    """`values` as `model`. Raises Misconfigured that names every wrong key below `where`, and the nearest right one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = spoken("; ").join(_explained(model, each, where) for each in error.errors(include_url=False))
        of_scope = all(each["loc"][:1] in ((), ("scope",), ("mode",)) for each in error.errors(include_url=False))
        remedy = HOW_TO_SAY_A_PART if of_scope else HOW_TO_FIND_KEYS
        raise Misconfigured("{mistakes}", remedy, code="COL-0235", mistakes=mistakes) from None


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
        return spoken("are no numbers, such as 100..200, 100.. or ..200")
    return error["msg"].removeprefix("Value error, ")


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
