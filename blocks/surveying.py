"""What a run is about, asked of the source and cut into shards."""

import time
from functools import partial

from anyio import to_thread

from blocks.workspace import Workspace
from collectors.interfaces import RunClaim
from collectors.models import Stage
from collectors.planning import pinned, plan
from collectors.selecting import Selection, surveyed, wanted


async def planned(here: Workspace, claim: RunClaim) -> tuple[list[Stage], Selection]:
    """Save the run's plan. Asking again before it is saved does no harm."""
    collection, storage, asked_at = here.collection, here.storage, time.time()
    mark = await to_thread.run_sync(storage.watermarks.of, collection.tenant, collection.name)
    selection = await wanted(collection, mark.value, here.collector)
    stages = list(await surveyed(here.collector, selection))
    plans = await pinned(here.collector, plan(stages, collection.strategy))
    save = partial(storage.catalog.save_plan, claim, plans, asked_at, selection, here.source_time)
    await to_thread.run_sync(save)
    return stages, selection
