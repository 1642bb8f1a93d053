"""Whether each server of the full stack answers, lets us in and is fit to be used: all asked at once."""

import asyncio
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass

from blocks.addresses import ROLES, shown
from blocks.production import refusals
from blocks.settings import Settings
from collectors.errors import Misconfigured, in_a_line, named
from collectors.language import spoken

SECONDS_TO_ANSWER = 6.0
SECONDS_FOR_ITSELF = 4.0  # after which a client says better than we can what it waits for
OLDEST_MYSQL, OLDEST_MARIADB = (8, 0, 17), (10, 6, 0)


@dataclass(slots=True)
class Checked:
    """One server: its address without secrets, its version, and what is wrong with it, if anything is."""

    role: str
    address: str
    version: str | None = None
    wrong: str | None = None


def checked(settings: Settings) -> list[Checked]:
    """All four, within a few seconds, whatever the servers do. The settings must name them."""
    found = {role: Checked(role, shown(settings.addresses[role])) for role in ROLES}
    # Threads that nobody waits for: one could be held by a server that takes a connection and says nothing.
    asking = [
        threading.Thread(target=copy_context().run, args=(_ask, settings, each), daemon=True) for each in found.values()
    ]
    for thread in asking:
        thread.start()
    give_up = time.monotonic() + SECONDS_TO_ANSWER
    for thread in asking:
        thread.join(max(0.0, give_up - time.monotonic()))
    unsafe = dict(refusals(settings))
    return [_judged(each, unsafe.get(role)) for role, each in found.items()]


def _ask(settings: Settings, found: Checked) -> None:
    try:
        found.version = CHECKS[found.role](settings)
    except Exception as error:  # noqa: BLE001 - a thread that dies says nothing: whatever it was is what is wrong
        found.wrong = in_a_line(str(named(error)))


def _judged(found: Checked, unsafe: str | None) -> Checked:
    """A copy, which a late answer does not change any more."""
    silent = spoken("no answer in {seconds:g} s", seconds=SECONDS_TO_ANSWER) if found.version is None else None
    return Checked(found.role, found.address, found.version, found.wrong or silent or unsafe)


def _metadata(settings: Settings) -> str:
    from sqlalchemy import text

    from blocks.sql.migrations import HEAD, revision
    from blocks.sql.mysql import MysqlDatabase

    with closing(MysqlDatabase(settings.addresses.metadata)) as database, database.read() as connection:
        version = connection.scalar(text("SELECT VERSION()"))
        if is_too_old(version):
            raise Misconfigured(
                "the database {server} is too old: {version}",
                "Install MySQL 8.0.17 or MariaDB 10.6, or newer.",
                code="COL-0697",
                server=database.server,
                version=version,
            )
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
        return spoken("{version}, revision {revision}", version=version, revision=found)


def is_too_old(version: str) -> bool:
    """As the server writes it: 8.0.36, or 10.11.6-MariaDB-1."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    return numbers < (OLDEST_MARIADB if "mariadb" in version.lower() else OLDEST_MYSQL)


def _documents(settings: Settings) -> str:
    from pymongo import timeout

    from blocks.documents.mongo import MongoDocuments

    with timeout(SECONDS_FOR_ITSELF), closing(MongoDocuments(settings.addresses.documents)) as documents:
        documents.read("-", "-", "case", ["-"])  # what needs no rights is answered to anybody
        return documents.check()


def _cache(settings: Settings) -> str:
    from blocks.caches.redis_cache import RedisCache

    with closing(RedisCache(settings.addresses.cache)) as cache:
        return cache.check()


def _queue(settings: Settings) -> str:
    return asyncio.run(_asked_for_its_length(settings))


async def _asked_for_its_length(settings: Settings) -> str:
    from blocks.queues.broker import Broker, Patience
    from blocks.queues.rabbitmq import RabbitQueue

    queue = RabbitQueue(
        Broker(settings.addresses.queue, patience=Patience(SECONDS_FOR_ITSELF / 2, SECONDS_FOR_ITSELF)),
        settings.signing_keys,
    )
    try:
        return spoken("{count} batches wait", count=await queue.waiting())
    finally:
        await queue.close()


CHECKS: dict[str, Callable[[Settings], str]] = {
    "metadata": _metadata,
    "documents": _documents,
    "cache": _cache,
    "queue": _queue,
}
