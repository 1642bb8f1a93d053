"""A source, asked by hand: with few retries, and without keeping anything."""

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from blocks.settings import secret
from collectors.errors import CollectError, named
from collectors.interfaces import Collector
from collectors.models import Collection
from collectors.outbound import Http
from collectors.registry import REFERENCE, connected, load
from deployments.cli.parameters import keys_of

MOST_TRIES = 2  # who asks by hand wants to hear soon that nobody answers


@asynccontextmanager
async def source_of(definition: Collection) -> AsyncIterator[tuple[Collector, Http]]:
    """The source, asked with few retries."""
    strategy = definition.strategy
    retry = strategy.retry.model_copy(update={"attempts": min(MOST_TRIES, strategy.retry.attempts)})
    hasty = definition.model_copy(update={"strategy": strategy.model_copy(update={"retry": retry})})
    try:
        async with connected(hasty, secret) as found:
            yield found
    except CollectError:
        raise
    except Exception as error:
        raise named(error) from error


def command(verb: str, collection: str, overrides: Sequence[str], definition: Collection, tenant: str) -> str:
    """`collect verb` for what was just asked, as it is typed; secrets are left out, for a log may keep it."""
    keys = keys_of(load(definition.collector).Parameters)
    plain = {f"source.{key.key}" for key in keys if key.type not in ("secret", "mapping")}
    whose = [] if tenant == "default" else ["--tenant", tenant]
    settings = [part for each in overrides for part in ("--set", _without_secret(each, plain))]
    return shlex.join(["collect", verb, collection, *settings, *whose])


def _without_secret(override: str, plain: set[str]) -> str:
    key, _, value = override.partition("=")
    hidden = key.partition(".")[0] == "source" and key not in plain and not value.startswith(REFERENCE)
    return f"{key}=..." if hidden else override
