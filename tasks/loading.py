"""The step that waits until what was read is in every store, and fetches again what was lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.workspace import Workspace, workspace
from collectors.interfaces import RunClaim
from collectors.recovering import Recovery


@task(name="load", retries=0, cache_policy=NO_CACHE)
async def load_rest(claim: RunClaim) -> bool:
    """True as soon as everything is in the stores. Raises CollectError when batches do not get there."""
    async with workspace(claim.run_id) as here:
        await _recovery(here, claim).loaded()
    return True


@asynccontextmanager
async def recovering(here: Workspace, claim: RunClaim, stop: asyncio.Event) -> AsyncIterator[None]:
    """Meanwhile lost batches are fetched again, or reading would wait for them for ever.

    When that is in vain `stop` is set, and the reason raised in the end.
    """
    watching = asyncio.create_task(_recovery(here, claim).loaded(reading=True))

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


def _recovery(here: Workspace, claim: RunClaim) -> Recovery:
    return Recovery(claim, here.storage.ledger, here.collector, here.storage.queue)
