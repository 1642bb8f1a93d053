"""A source, asked by hand: with few retries, and without keeping anything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blocks.settings import secret
from collectors.errors import CollectError, named
from collectors.interfaces import Collector
from collectors.models import Collection
from collectors.outbound import Http
from collectors.registry import connected

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
