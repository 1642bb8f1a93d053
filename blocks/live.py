"""What is set, as a process knows it that is under way: never older than a second while the database answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import to_thread

from blocks.sql.config import Config
from collectors.config import Value, narrowest
from collectors.errors import CollectError

LOOK_EVERY = 0.5
Otherwise = TypeVar("Otherwise")
log = logging.getLogger(__name__)


class Live:
    """Answers without asking anybody. While the database is away, what was known last stays in force."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._changes = -1
        self._values: Mapping[tuple[str, str, str], Value] = {}
        self._answers = True

    def of(self, name: str, tenant: str, collection: str, otherwise: Otherwise) -> Value | Otherwise:
        """The narrowest value that is set there, or what holds where none is."""
        found = narrowest(self._values, name, tenant, collection)
        return otherwise if found is None else found

    def look(self) -> bool:
        """Whether something has changed since it was looked last, which is known then."""
        changes = self._config.changes()
        if changes == self._changes:
            return False
        # A change that comes in between is read now, and once more the next time.
        self._values = self._config.values()
        self._changes = changes
        return True

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Looks once before, and again and again meanwhile."""
        await self._looked()
        looking = asyncio.create_task(self._looking())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self._looked()

    async def _looked(self) -> None:
        try:
            await to_thread.run_sync(self.look)
            self._answers = True
        except CollectError as error:
            if self._answers:
                log.warning("%s", error)
            self._answers = False
