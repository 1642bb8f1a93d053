"""The collecting itself, without Prefect: survey, plan, every shard, the repair of paths.

python -m bench.core ADDRESS    into the stores of COLLECT_HOME
"""

import asyncio
import json
import sys
import time
from itertools import groupby

from blocks.process import this_process
from blocks.settings import Settings
from blocks.sql.rows import Rows
from blocks.stores import Storage, open_storage
from blocks.workspace import Workspace, workspace
from collectors.closing import repair_directories, repair_paths
from collectors.interfaces import Cache, Documents
from collectors.models import Collection, ShardPlan
from collectors.planning import plan
from collectors.reading import Reader
from collectors.recovering import loaded
from collectors.states import RunState

SOURCE = {"project_id": 1, "suite_id": 1, "username": "reader", "api_key": "key"}


async def collected(storage: Storage, definition: Collection) -> str:
    """Collect all, until it is in every store; answers the run."""
    begun = storage.catalog.begin(definition, this_process())
    async with workspace(begun.run_id) as here:
        claim = here.storage.catalog.lead(begun.run_id, here.owner)
        strategy = definition.strategy
        plans = plan(await here.collector.survey(), strategy)
        here.storage.catalog.save_plan(claim, plans, time.time())
        places = asyncio.Semaphore(strategy.concurrency)
        for _, shards in groupby(plans, key=lambda shard: shard.stage):
            await asyncio.gather(*(_read(here, shard, places) for shard in shards))
            await loaded(here.storage.ledger, claim.run_id)
            repair_directories(*_of(here))
        repair_paths(*_of(here))
        here.storage.catalog.end(claim, RunState.COMPLETED)
    return begun.run_id


def fetched(storage: Storage, run_id: str) -> int:
    return sum(shard["fetched"] for shard in storage.catalog.shards(run_id))


def _of(here: Workspace) -> tuple[Rows, Documents, Cache, str, str]:
    stores = here.storage.rows, here.storage.documents, here.storage.cache
    return *stores, here.collection.tenant, here.collection.name


async def _read(here: Workspace, shard: ShardPlan, places: asyncio.Semaphore) -> None:
    reader = Reader(here.collection, here.collector, here.storage.shards, here.storage.queue, 1.0)
    async with places:
        await reader.read(here.storage.shards.claim(here.run_id, shard.shard_id, here.owner))


def main(address: str) -> None:
    definition = Collection(name="core", collector="testrail", source=SOURCE | {"base_url": address})
    with open_storage(Settings.load()) as storage:
        began, cpu = time.perf_counter(), time.process_time()
        run_id = asyncio.run(collected(storage, definition))
        done = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        done["records"] = fetched(storage, run_id)
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
