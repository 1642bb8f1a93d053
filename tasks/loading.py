"""The step that waits until what was read is in every store, and what fetches again what was lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.workspace import Workspace, workspace
from collectors.closing import repair_directories
from collectors.interfaces import RunClaim
from collectors.recovering import Recovery, loaded


@task(name="load", retries=0, cache_policy=NO_CACHE)
async def load_stage(claim: RunClaim) -> bool:
    """True when all that was read is in every store, and directories are where what is read next will hang."""
    async with workspace(claim.run_id) as here:
        await loaded(here.storage.ledger, claim.run_id)
        stores = here.storage.rows, here.storage.documents, here.storage.cache
        await to_thread.run_sync(repair_directories, *stores, here.collection.tenant, here.collection.name)
    return True


@asynccontextmanager
async def recovering(here: Workspace, claim: RunClaim, stop: asyncio.Event) -> AsyncIterator[None]:
    """Meanwhile lost batches are fetched again, or who waits for them would do so forever.

    When that is in vain `stop` is set, and the reason raised in the end.
    """
    recovery = Recovery(claim, here.storage.ledger, here.collector, here.storage.queue)
    watching = asyncio.create_task(recovery.watch())

    def stopped(_: asyncio.Task[None]) -> None:
        stop.set()

    watching.add_done_callback(stopped)
    try:
        yield
    finally:
        watching.remove_done_callback(stopped)
        watching.cancel()
        await asyncio.wait({watching})
    if not watching.cancelled():
        watching.result()
