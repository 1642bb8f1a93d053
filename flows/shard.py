"""One shard as a flow: the same function inline in a run, or alone on a worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from anyio import to_thread
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed, State

from blocks.workspace import Workspace, workspace
from collectors.errors import Fenced, Refused, in_a_line
from collectors.reading import Reader
from collectors.selecting import changed_at, chosen
from collectors.states import ShardState
from flows.prefect_states import LEFT, PAUSED, TAKEN_OVER, is_deployed
from flows.staying import called_for, done_over, goes_on, leave

RENEWALS_PER_LEASE = 15
RETRYING = "Retrying"

_begun: ContextVar[asyncio.Task[ShardState] | None] = ContextVar("begun", default=None)


@flow(name="shard", flow_run_name="{run_id}/{shard_id}", retries=0, persist_result=False)
async def shard(run_id: str, shard_id: str) -> State:
    """Read one shard of a run, from where its last checkpoint stands.

    Args:
        run_id: the run it belongs to
        shard_id: the shard, as collect shards shows it
    """
    async with workspace(run_id) as here:
        get_run_logger().info("reading")
        alone = is_deployed()
        if alone and await to_thread.run_sync(done_over, here.storage, run_id, shard_id):
            return Cancelled(name=LEFT, message="is done over by its run, which goes on for it")
        if alone and not await called_for(here.storage, run_id, shard_id):
            await leave(here.storage, run_id, shard_id)
        try:
            state = await (_begun.get() or read(here, shard_id))
            while alone and state is ShardState.PAUSED and await goes_on(here.storage, run_id, shard_id):
                state = await read(here, shard_id)
        except (Fenced, Refused) as error:
            return Cancelled(name=TAKEN_OVER, message=in_a_line(str(error)))
        if alone and state is ShardState.PAUSED:
            await leave(here.storage, run_id, shard_id)
        return _mirrored(state, await to_thread.run_sync(here.storage.catalog.shard, run_id, shard_id))


@asynccontextmanager
async def begun(here: Workspace, shard_id: str) -> AsyncIterator[asyncio.Task[ShardState]]:
    """The shard is being read already: making its flow run, which shows it, takes Prefect a quarter of a second."""
    reading = asyncio.create_task(read(here, shard_id))
    _begun.set(reading)
    try:
        yield reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def read(here: Workspace, shard_id: str) -> ShardState:
    progress = here.storage.shards
    every = progress.lease_seconds / RENEWALS_PER_LEASE
    run = await to_thread.run_sync(here.storage.catalog.run, here.run_id)
    takes = chosen(here.collection, run["selection"]).takes(changed_at(here.collector))
    skips = here.collection.mode == "full" and here.collection.strategy.skip_unchanged
    pages = here.storage.pages if skips else None
    epoch = run["epoch"] or 0
    of = here.collection, here.collector, progress, here.storage.queue, every, epoch, takes, pages
    reader = Reader(*of, lambda: here.concurrency)
    return await reader.read(await to_thread.run_sync(progress.claim, here.run_id, shard_id, here.owner))


def _mirrored(state: ShardState, row: dict[str, Any]) -> State:
    counts = f"{row['fetched']:,} records, {row['quarantined']:,} quarantined"
    match state:
        case ShardState.COMPLETED:
            return Completed(message=counts)
        case ShardState.PAUSED:
            return Cancelled(name=PAUSED, message=f"{counts}; goes on from here when the run is resumed")
        case ShardState.CANCELLED:
            return Cancelled(message=f"{counts}; what was read stays")
        case ShardState.RETRYING:
            return Failed(name=RETRYING, message=f"{in_a_line(row['error'])}; is tried again from its checkpoint")
        case _:
            return Failed(message=in_a_line(row["error"]))
