"""What the steps of a run work with: its stores and its collector, opened once in a process, shared by its shards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from blocks.imported import Imported
from blocks.live import Live
from blocks.process import this_process
from blocks.settings import Settings, secret
from blocks.sql.database import LONGEST_OUTAGE
from blocks.stores import Storage, open_storage
from collectors.interfaces import Collector
from collectors.models import IMPORT, Collection
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.registry import connected


@dataclass(frozen=True, slots=True)
class Workspace:
    run_id: str
    owner: str
    collection: Collection
    storage: Storage
    collector: Collector
    http: Http | None  # None where there is no source to ask
    live: Live

    @property
    def concurrency(self) -> int:
        """How many shards of the run are to be read side by side now."""
        of = self.collection
        return self.live.of("concurrency", of.tenant, of.name, of.strategy.concurrency)

    @property
    def source_time(self) -> int | None:
        """When the source answered first, by its own clock; microseconds since 1970."""
        return int(self.http.began * 1_000_000) if self.http and self.http.began is not None else None


_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


@asynccontextmanager
async def workspace(run_id: str) -> AsyncIterator[Workspace]:
    """The workspace of the run: the one its parent opened in this process, else one of its own."""
    present = _current.get()
    if present and present.run_id == run_id:
        yield present
        return
    with open_storage(Settings.load(), LONGEST_OUTAGE) as storage:
        collection = Collection.model_validate_json(storage.catalog.run(run_id)["definition"])
        live = Live(storage.config)
        async with live.listening(), _source(run_id, collection, storage, live) as (collector, http):
            opened = Workspace(run_id, this_process(), collection, storage, collector, http, live)
            token = _current.set(opened)
            try:
                yield opened
            finally:
                _current.reset(token)
                await storage.queue.close()


@asynccontextmanager
async def _source(
    run_id: str, collection: Collection, storage: Storage, live: Live
) -> AsyncIterator[tuple[Collector, Http | None]]:
    if collection.collector == IMPORT:
        yield Imported(storage.spool, run_id), None
    else:
        rate = partial(live.of, "requests_per_second", collection.tenant, collection.name, None)
        async with connected(collection, secret, Pace(rate=rate)) as source:
            yield source
