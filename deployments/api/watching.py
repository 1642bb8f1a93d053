"""Whether the parts the service stands on are well: asked now and then, answered at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread

from blocks.prefect_health import healthy
from blocks.settings import Settings
from blocks.stores import Storage
from collectors.errors import CollectError, Unreachable, parted
from deployments import prefect_server

SECONDS_BETWEEN = 2.0
SECONDS_FRESH = 2.0
NEEDED = ("metadata", "documents")  # without which nothing can be read; embedded there are no others


class Watch:
    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings, self._storage = settings, storage
        self._asking = asyncio.Lock()
        self._asked_at, self._stores = float("-inf"), dict[str, Any]()
        self.prefect_answers = False

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Meanwhile it is known whether Prefect answers."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self) -> None:
        while True:
            self.prefect_answers = await to_thread.run_sync(_prefect_answers, self._settings)
            await asyncio.sleep(SECONDS_BETWEEN)

    async def health(self) -> dict[str, Any]:
        """`ok`; `degraded` while something is away without which reading works; else `down`."""
        parts = await self._parts() | {"prefect": _part(None if self.prefect_answers else "COL-0704")}
        bad = [name for name, part in parts.items() if part["state"] != "ok"]
        down = any(name in NEEDED for name in bad)
        return {"status": "down" if down else "degraded" if bad else "ok", "parts": parts}

    async def _parts(self) -> dict[str, Any]:
        """Anybody may ask, as often as they like: the servers are asked every other second."""
        async with self._asking:
            if time.monotonic() - self._asked_at > SECONDS_FRESH:
                self._stores = await to_thread.run_sync(self._asked)
                self._asked_at = time.monotonic()
        return self._stores

    def _asked(self) -> dict[str, Any]:
        if self._settings.addresses:
            from blocks.checking import checked

            return {each.role: _part(each.wrong and _code(each.wrong)) for each in checked(self._settings)}
        return {role: self._embedded(role) for role in NEEDED}

    def _embedded(self, role: str) -> dict[str, Any]:
        try:
            if role == "metadata":
                self._storage.catalog.tenants()
            else:
                self._storage.documents.read("-", "-", "case", ["-"])
        except CollectError as error:
            return _part(error.code)
        return _part(None)


def _prefect_answers(settings: Settings) -> bool:
    api = settings.prefect_api_url or prefect_server.running(settings)
    return bool(api) and healthy(api)


def _code(wrong: str) -> str:
    return parted(wrong)[0] or Unreachable.code


def _part(code: str | None) -> dict[str, Any]:
    """Without the reason, which names addresses: anybody may ask."""
    return {"state": "failed" if code else "ok", "code": code}
