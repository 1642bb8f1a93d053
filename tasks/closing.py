"""The step that ends the work of a run: paths are put right, what is gone is marked, and the shards say how it ends."""

import time

from anyio import to_thread
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.concluding import concluded
from blocks.loaders import loader_stays
from blocks.workspace import workspace
from collectors.closing import Outcome
from collectors.errors import CollectError
from collectors.interfaces import Documents
from collectors.states import RunState

SECONDS_FOR_WORDS = 5.0


@task(name="close", retries=0, cache_policy=NO_CACHE)
async def close_run(run_id: str, loaded: bool) -> Outcome:
    """How the run ends, of which everything that was read is `loaded` or not."""
    async with workspace(run_id) as here:
        end = await concluded(here, loaded)
        if end.state is not RunState.PAUSED and not loader_stays():
            await to_thread.run_sync(_make_searchable, here.storage.documents)
        return end


def _make_searchable(documents: Documents) -> None:
    """As much as a moment allows: another loader does the rest when it is idle, and nothing is unfound meanwhile."""
    give_up = time.monotonic() + SECONDS_FOR_WORDS
    try:
        while documents.make_searchable() and time.monotonic() < give_up:
            pass
    except CollectError as error:
        get_run_logger().warning("words for search are entered later: %s", error.what)
