"""Whether each server of the full stack answers, lets us in and is fit to be used: asked side by side."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from blocks.addresses import ROLES, shown
from blocks.settings import Settings
from collectors.errors import CollectError, Misconfigured


def checked(settings: Settings) -> list[dict[str, str | None]]:
    """For each of the four: its `role`, its `address` without secrets, its `version`, and what is `wrong` with it."""
    checks: dict[str, Callable[[], str]] = {
        "metadata": lambda: _metadata(settings.addresses.metadata),
        "documents": lambda: _documents(settings.addresses.documents),
        "cache": lambda: _cache(settings.addresses.cache),
        "queue": lambda: asyncio.run(_queue(settings)),
    }
    with ThreadPoolExecutor(len(ROLES)) as pool:
        asked = {role: pool.submit(_said, checks[role]) for role in ROLES}
    return [{"role": role, "address": shown(settings.addresses[role]), **asked[role].result()} for role in ROLES]


def _said(check: Callable[[], str]) -> dict[str, str | None]:
    try:
        return {"version": check(), "wrong": None}
    except CollectError as error:
        return {"version": None, "wrong": " ".join(str(error).split("\n"))}


def _metadata(url: str) -> str:
    from sqlalchemy import text

    from blocks.sql.migrations import HEAD, revision
    from blocks.sql.mysql import MysqlDatabase

    with closing(MysqlDatabase(url)) as database, database.read() as connection:
        found = revision(connection)
        if found is None or found < HEAD:
            raise Misconfigured(
                "the database {server} has the tables of revision {found}, and {needed} is needed",
                "Bring them up to date: collect storage migrate",
                code="COL-0626",
                server=database.server,
                found=found or "-",
                needed=HEAD,
            )
        return f"{connection.scalar(text('SELECT VERSION()'))}, revision {found}"


def _documents(url: str) -> str:
    from blocks.documents.mongo import MongoDocuments

    with closing(MongoDocuments(url)) as documents:
        return documents.check()


def _cache(url: str) -> str:
    from blocks.caches.redis_cache import RedisCache

    with closing(RedisCache(url)) as cache:
        return cache.check()


async def _queue(settings: Settings) -> str:
    from blocks.queues.broker import Broker, Patience
    from blocks.queues.rabbitmq import RabbitQueue

    queue = RabbitQueue(Broker(settings.addresses.queue, patience=Patience(2.0, 2.0)), settings.signing_keys)
    try:
        return f"{await queue.waiting()} batches waiting"
    finally:
        await queue.close()
