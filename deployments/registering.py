"""Registering: a definition is checked whole, then put in force, then shown in Prefect."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from blocks.settings import Serving, Settings, secret
from blocks.sql.registry import refuse_changed
from blocks.stores import Storage, open_storage
from collectors.errors import CollectError, Misconfigured, Unreachable
from collectors.models import Collection
from collectors.registry import REFERENCE, checked_source, secrets_of
from deployments import prefect_server
from deployments.asking import source_of
from deployments.parameters import variable

SECONDS_TO_ANSWER = 60.0
HIDDEN = "***"
Difference = tuple[str, Any, Any]


@dataclass(frozen=True, slots=True)
class Registration:
    """`differences`: what it changes, by keys, from what to what; `waits`: why Prefect does not show it yet."""

    definition: Collection
    version: int
    differences: tuple[Difference, ...]
    applied: bool = False
    waits: str | None = None


def register(definition: Collection, expected: int | None = None, check: bool = True) -> Registration:
    """Put a definition in force here, from Python: as `collect register` does with a file.

    `expected`: the version this one is to follow (0: none); `check`: whether its source is asked first. Raises
    Misconfigured, Refused (Changed when `expected` is not in force any more), and what asking the source may raise.
    """
    checked(definition, offline=not check)
    if check:
        asyncio.run(reached(definition))
    settings = Settings.load()
    with open_storage(settings) as storage:
        return registered(storage, settings, definition, expected)


def checked(definition: Collection, offline: bool = False) -> None:
    """What a registration needs beside a definition that can be read. Raises Misconfigured.

    `offline`: the variables it refers to need not be set here.
    """
    _refuse_unwritable(definition)
    _refuse_plain_secrets(definition)
    checked_source(definition, (lambda name: secret(name) or name) if offline else secret)
    for each in definition.schedule:
        if next(each.ticks(datetime.now(UTC)), None) is None:
            raise Misconfigured(
                "schedule {slug} of {name} never comes again ({rule})",
                "Correct its rule, or leave the schedule out.",
                code="COL-0299",
                slug=each.slug,
                name=definition.name,
                rule=each.rule,
            )


def _refuse_unwritable(definition: Collection) -> None:
    try:
        orjson.dumps(definition.model_dump(mode="json"))
    except (TypeError, ValueError):
        raise Misconfigured(
            "{name} holds a number or a text that cannot be kept",
            "Numbers have 64 bits, and texts are Unicode; write a longer number as a text, in quotes.",
            code="COL-0294",
            name=definition.name,
        ) from None


def _refuse_plain_secrets(definition: Collection) -> None:
    for key in secrets_of(definition):
        value = definition.source.get(key)
        if value is not None and not (isinstance(value, str) and value.startswith(REFERENCE)):
            raise Misconfigured(
                "source.{key} of {name} holds a secret as it is: whoever may read the catalog could read it",
                "Refer to a variable, and set that where runs are carried out: {key}: {variable}",
                code="COL-0284",
                key=key,
                name=definition.name,
                variable=variable(definition.name, key),
            )


async def reached(definition: Collection) -> None:
    """Ask its source how much there is. Raises what that raises, and Misconfigured when it takes too long."""
    try:
        async with asyncio.timeout(SECONDS_TO_ANSWER), source_of(definition) as (collector, _):
            await collector.survey()
    except TimeoutError:
        raise Misconfigured(
            "the source of {name} did not tell in {seconds:.0f} s how much there is",
            "Try it by itself: collect plan FILE; or register it without asking: --offline",
            code="COL-0295",
            name=definition.name,
            seconds=SECONDS_TO_ANSWER,
        ) from None


def planned(storage: Storage, definition: Collection, expected: int | None = None) -> Registration:
    """What to register it would do. Raises Changed as `register` does."""
    of = definition.tenant, definition.name
    found = storage.registry.in_force(*of)
    refuse_changed(found, definition.name, expected)
    _, before = found or (0, None)
    row = storage.registry.registration(*of)
    differences = tuple(differences_of(before, definition))
    return Registration(definition, storage.registry.next_version(definition), differences, waits=row and row["failed"])


def registered(
    storage: Storage, settings: Settings, definition: Collection, expected: int | None = None
) -> Registration:
    """Put it in force. Prefect may be away: it is kept, and applied later by the service or upkeep."""
    done = storage.registry.register(definition, expected)
    applied, waits = applied_to_prefect(storage, settings, definition.tenant, definition.name)
    return Registration(definition, done.version, tuple(differences_of(done.before, definition)), applied, waits)


def applied_to_prefect(storage: Storage, settings: Settings, tenant: str, name: str) -> tuple[bool, str | None]:
    """Whether Prefect shows it, and why not. Without a work pool it has nothing to show: the service carries it out."""
    pool = Serving.load().work_pool
    if not pool:
        return False, None
    try:
        prefect_server.use(settings)
        from flows.applying import apply

        asyncio.run(apply(storage, pool, (tenant, name)))
    except Unreachable as error:
        storage.registry.note_failed(tenant, name, error.what)
    row = storage.registry.registration(tenant, name)
    failed = row and row["failed"]
    return not failed, failed


def version_among(rows: Sequence[dict[str, Any]], name: str, version: int) -> Collection:
    """One of the versions that are kept. Raises Misconfigured."""
    for row in rows:
        if row["version"] == version:
            return row["definition"]
    raise Misconfigured(
        "{name} has no version {version}",
        "List its versions: collect versions {name}",
        code="COL-0297",
        name=name,
        version=version,
    )


def difference(each: Difference) -> dict[str, Any]:
    return dict(zip(("key", "before", "after"), each, strict=True))


def differences_of(before: Collection | None, after: Collection | None) -> Iterator[Difference]:
    """By keys, as they stand in a file: (key, before, after); what is a secret is not told."""
    old, new = _flat(before), _flat(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def without_secrets(definition: Collection) -> dict[str, Any]:
    """As it stands in a file: what was only run may have been written with a password in it."""
    values = definition.model_dump(mode="json", exclude_defaults=True)
    hidden = _secrets_if_known(definition)
    source = {key: _shown(value, key in hidden) for key, value in definition.source.items()}
    return values | ({"source": source} if source else {})


def _flat(definition: Collection | None) -> dict[str, Any]:
    if definition is None:
        return {}
    values = without_secrets(definition)
    values.pop("schedule", None)
    for each in definition.schedule:
        rule = each.model_dump(mode="json", exclude_defaults=True, exclude={"slug"})
        values |= {f"schedule.{each.slug}": rule}
    return dict(_leaves(values))


def _secrets_if_known(definition: Collection) -> Sequence[str]:
    """A collector may have been removed: then nothing of its source is known to be none."""
    try:
        return secrets_of(definition)
    except CollectError:
        return [*definition.source]


def _leaves(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _shown(value: Any, secret: bool) -> Any:
    return HIDDEN if secret and not str(value).startswith(REFERENCE) else value
