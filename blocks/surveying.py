"""What a run is about, asked of the source and cut into shards."""

import time
from functools import partial

from anyio import to_thread

from blocks.sql.watermarks import Mark
from blocks.workspace import Workspace
from collectors.interfaces import RunClaim
from collectors.models import Collection, Stage
from collectors.notices import ahead
from collectors.planning import pinned, plan
from collectors.registry import same_source
from collectors.selecting import Selection, surveyed, wanted


def of_another_source(collection: Collection, mark: Mark) -> bool:
    """Whether the watermark is what a run left that read something else under this name."""
    return bool(mark.definition) and not same_source(Collection.model_validate_json(mark.definition), collection)


async def _selection(here: Workspace, mark: Mark, watermark: int | None) -> Selection:
    if mark.moved_by == here.run_id:  # before it was to be done over: it reads again what it read then
        row = await to_thread.run_sync(here.storage.catalog.run, here.run_id)
        return Selection.model_validate_json(row["selection"])
    return await wanted(here.collection, watermark, here.collector)


def _is_ahead(here: Workspace, watermark: int | None) -> bool:
    """Whether its source has not reached that time yet: its clock was wrong when the watermark was moved."""
    if here.collection.mode == "range" or None in (watermark, here.source_time):
        return False
    return watermark > here.source_time + here.collection.strategy.overlap * 1_000_000


async def planned(here: Workspace, claim: RunClaim) -> tuple[list[Stage], Selection]:
    """Save the run's plan. Asking again before it is saved does no harm."""
    collection, storage, asked_at = here.collection, here.storage, time.time()
    mark = await to_thread.run_sync(storage.watermarks.of, collection.tenant, collection.name)
    value = None if of_another_source(collection, mark) else mark.value
    selection = await _selection(here, mark, value)
    stages = list(await surveyed(here.collector, selection))
    if _is_ahead(here, value):
        selection = Selection(note=ahead(collection))
        stages = list(await here.collector.survey())
    plans = await pinned(here.collector, plan(stages, collection.strategy))
    save = partial(storage.catalog.save_plan, claim, plans, asked_at, selection, here.source_time)
    await to_thread.run_sync(save)
    return stages, selection
