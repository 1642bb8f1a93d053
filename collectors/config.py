"""What may be set while everything runs: what each setting takes, where it may be set, and which value is in force."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import orjson

from collectors.errors import Misconfigured
from collectors.language import spoken
from collectors.models import one_word
from collectors.validating import nearest

Scope = Literal["global", "tenant", "collection"]
Value = bool | int | float
Place = tuple[str, str]  # tenant and collection; empty where it is of all of them
Kept = TypeVar("Kept")
EVERYWHERE: Place = ("", "")
LONGEST_TENANT = 64
SWITCH = {"on": True, "off": False, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Setting:
    """`most`: the largest number it takes. `tenants`: whether one may set it for itself through the service."""

    name: str
    kind: type[Value]
    description: str
    scopes: tuple[Scope, ...]
    most: int = 1
    unit: str = ""
    tenants: bool = True

    @property
    def takes(self) -> str:
        if self.kind is bool:
            return spoken("on or off")
        if self.kind is int:
            return spoken("a whole number from 1 to {most:,}", most=self.most)
        return spoken("a number above 0, {most:,} at most", most=self.most)

    def checked(self, value: object) -> Value:
        """`value`, which may be text that means it. Raises Misconfigured."""
        found = _meant(value) if isinstance(value, str) else value
        if self.kind is float and type(found) is int:
            found = float(found)
        if type(found) is not self.kind or not (self.kind is bool or self._within(found)):
            raise Misconfigured(
                "{name} cannot be {value}: it takes {takes}",
                "See what it is now: collect config show {name}",
                code="COL-0286",
                name=self.name,
                value=f"{value!r:.60}",
                takes=self.takes,
            )
        return found

    def _within(self, value: Value) -> bool:
        return (value >= 1 if self.kind is int else value > 0) and value <= self.most


EVERY_SCOPE: tuple[Scope, ...] = ("global", "tenant", "collection")
SETTINGS = {
    each.name: each
    for each in (
        Setting(
            "concurrency",
            int,
            "shards of a run that are read side by side, whatever its strategy says",
            EVERY_SCOPE,
            most=64,
        ),
        Setting(
            "requests_per_second",
            float,
            "requests of one process of a run to its source",
            EVERY_SCOPE,
            most=10_000,
            unit="/s",
        ),
        Setting("schedules", bool, "whether what is due by a schedule is carried out", EVERY_SCOPE),
        Setting(
            "api_requests_per_second",
            int,
            "requests of one tenant to one process of the service",
            ("global", "tenant"),
            most=1_000_000,
            unit="/s",
            tenants=False,  # it protects the service from them
        ),
    )
}


def setting(name: str) -> Setting:
    """Raises Misconfigured when none is called so."""
    if name in SETTINGS:
        return SETTINGS[name]
    raise Misconfigured(
        "there is no setting {name}",
        "{guess}There are: {known}",
        code="COL-0285",
        name=f"{name!r:.60}",
        guess=nearest(name, SETTINGS),
        known=", ".join(SETTINGS),
    )


def scope_of(place: Place) -> Scope:
    tenant, collection = place
    if collection:
        return "collection"
    return "tenant" if tenant else "global"


def checked_place(name: str, place: Place) -> Place:
    """Raises Misconfigured where the setting may not be set there, or the tenant's name is none."""
    scopes = setting(name).scopes
    if scope_of(place) not in scopes:
        raise Misconfigured(
            "{name} cannot be set for a {scope}",
            "It may be set for: {scopes}",
            code="COL-0287",
            name=name,
            scope=spoken(scope_of(place)),
            scopes=", ".join(spoken(each) for each in scopes),
        )
    if place[0]:
        _check_tenant(place[0])
    return place


def _check_tenant(name: str) -> None:
    try:
        fits = len(one_word(name)) <= LONGEST_TENANT
    except ValueError:
        fits = False
    if not fits:
        raise Misconfigured(
            "no tenant is called {tenant}",
            "A tenant's name is one word of {most} characters at most, without slashes or colons.",
            code="COL-0289",
            tenant=f"{name!r:.80}",
            most=LONGEST_TENANT,
        )


def narrowing(tenant: str, collection: str) -> list[Place]:
    """Where something may be set that holds there: the narrowest first."""
    return list(dict.fromkeys(((tenant, collection), (tenant, ""), EVERYWHERE)))


def narrowest(found: Mapping[tuple[str, str, str], Kept], name: str, tenant: str, collection: str) -> Kept | None:
    """Of what is found by tenant, collection and name, that which is in force there."""
    keys = ((*place, name) for place in narrowing(tenant, collection))
    return next((found[key] for key in keys if key in found), None)


def written(value: Value | None) -> str:
    """As people write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return spoken("no limit") if value is None else f"{value:.12g}"


def _meant(text: str) -> object:
    try:
        return SWITCH[text] if text in SWITCH else orjson.loads(text)
    except ValueError:
        return text
