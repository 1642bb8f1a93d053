"""Which collectors there are: the built-in ones, and those of installed plug-ins."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from collectors.errors import Misconfigured
from collectors.interfaces import Collector
from collectors.models import IMPORT, Collection
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.validating import nearest, validated

REFERENCE = "env:"
DISTRIBUTION = "platform-collect"
GROUP = "platform_collect.collectors"
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


def same_source(one: Collection, other: Collection) -> bool:
    """Whether both read the same. With which password they are let in does not count."""
    return one.collector == other.collector and _told_openly(one) == _told_openly(other)


def _told_openly(of: Collection) -> dict[str, Any]:
    secret = secrets_of(of)
    return {key: value for key, value in of.source.items() if key not in secret}


def secrets_of(definition: Collection) -> list[str]:
    """The keys of its source that hold secrets."""
    fields = load(definition.collector).Parameters.model_json_schema()["properties"]
    options = {key: (field, *field.get("anyOf", ())) for key, field in fields.items()}
    return [key for key, some in options.items() if any(each.get("format") == "password" for each in some)]


@asynccontextmanager
async def connected(
    collection: Collection, lookup: Callable[[str], str | None], pace: Pace | None = None
) -> AsyncIterator[tuple[Collector, Http]]:
    """The collection's collector, ready to ask its source. `lookup` resolves `env:NAME` in the source's parameters."""
    collector = load(collection.collector)
    parameters = checked_source(collection, lookup)
    strategy, connection = collection.strategy, collector.connection(parameters)
    async with Http(parameters.base_url, strategy.retry, pace or Pace(), strategy.timeout, **connection) as http:
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
        raise Misconfigured(
            "source.{key} refers to the environment variable {name}, which is not set",
            "Set it: export {name}=...",
            code="COL-0234",
            key=key,
            name=name,
        )
    return found
