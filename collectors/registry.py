"""Which collectors there are: the built-in ones, and those of installed plug-ins."""

import difflib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import date, datetime
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ValidationError

from collectors.errors import Misconfigured
from collectors.interfaces import Collector
from collectors.models import Collection
from collectors.outbound import Http
from collectors.pacing import Pace

REFERENCE = "env:"
GROUP = "platform_collect.collectors"
QUOTED = (bool, int, float, date, datetime)
KINDS = {
    type(None): "nothing", bool: "yes or no", int: "a number", float: "a number", str: "text", date: "a date",
    datetime: "a date", list: "a list", dict: "further keys",
}  # fmt: skip
BUILT_IN = {"kiwi": "collectors.sources.kiwi:Kiwi", "testrail": "collectors.sources.testrail:TestRail"}


def names() -> list[str]:
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def load(name: str) -> type[Collector]:
    """The collector's class. Raises Misconfigured when there is none of that name, or its module does not import."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=GROUP, name=name):
        try:
            return point.load()
        except Exception as error:
            raise Misconfigured(f"collector {name} cannot be imported ({error})", f"Check {point.value}.") from error
    raise Misconfigured(
        f"there is no collector {name!r}", f"{nearest(name, names())}List them with: collect collectors"
    )


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


def checked_source(collection: Collection, lookup: Callable[[str], str | None]) -> Any:
    """The source's parameters. Raises Misconfigured for a wrong key or value, or a variable that is not set."""
    resolved = {key: _resolved(key, value, lookup) for key, value in collection.source.items()}
    return validated(load(collection.collector).Parameters, resolved, "source")


def _resolved(key: str, value: Any, lookup: Callable[[str], str | None]) -> Any:
    if not isinstance(value, str) or not value.startswith(REFERENCE):
        return value
    name = value.removeprefix(REFERENCE)
    if (found := lookup(name)) is None:
        raise Misconfigured(f"source.{key} refers to the environment variable {name}, which is not set")
    return found


def nearest(word: str, words: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"Did you mean {found[0]}? " if found else ""


def validated(model: type[BaseModel], values: Any, where: str) -> Any:
    """`values` as `model`. Raises Misconfigured that names every wrong key below `where`, and the nearest right one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise Misconfigured("; ".join(_explained(model, each, where) for each in found)) from None


def _explained(model: type[BaseModel], error: Any, where: str) -> str:
    path = ".".join([where, *(str(part) for part in error["loc"])]).strip(".")
    if error["type"] == "extra_forbidden":
        known = _fields(model, error["loc"][:-1])
        hint = f". {nearest(str(error['loc'][-1]), known)}Known here: {', '.join(known)}" if known else ""
        return f"unknown key {path!r}{hint}"
    if error["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {error['msg'].removeprefix('Value error, ')}{_found(error, where)}"


def _found(error: Any, where: str) -> str:
    """What stands there instead, or only of which kind it is where it may be a secret."""
    value = error["input"]
    if not where and error["loc"][0] == "strategy":
        return f" (found {value!r:.60})"
    if not error["type"].endswith("_type"):
        return ""
    kind = KINDS.get(type(value), "something else")
    return (
        f" (found {kind}; quote it)" if error["type"] == "string_type" and type(value) in QUOTED else f" (found {kind})"
    )


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        found = getattr(model, "model_fields", {}).get(part)
        model = found and found.annotation
    return list(getattr(model, "model_fields", ()))
