"""What a run is about, asked of the source and cut into shards."""

import time
from functools import partial

from anyio import to_thread

from blocks.sql.watermarks import Mark
from blocks.workspace import Workspace
from collectors.interfaces import RunClaim
from collectors.models import Collection, Stage
from collectors.planning import pinned, plan
from collectors.registry import same_source
from collectors.selecting import Selection, surveyed, wanted


def of_another_source(collection: Collection, mark: Mark) -> bool:
    """Whether the watermark is what a run left that read something else under this name."""
    return bool(mark.definition) and not same_source(Collection.model_validate_json(mark.definition), collection)


async def planned(here: Workspace, claim: RunClaim) -> tuple[list[Stage], Selection]:
    """Save the run's plan. Asking again before it is saved does no harm."""
    collection, storage, asked_at = here.collection, here.storage, time.time()
    mark = await to_thread.run_sync(storage.watermarks.of, collection.tenant, collection.name)
    value = None if of_another_source(collection, mark) else mark.value
    selection = await wanted(collection, value, here.collector)
    stages = list(await surveyed(here.collector, selection))
    plans = await pinned(here.collector, plan(stages, collection.strategy))
    save = partial(storage.catalog.save_plan, claim, plans, asked_at, selection, here.source_time)
    await to_thread.run_sync(save)
    return stages, selection
