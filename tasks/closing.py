"""The step that ends the work of a run: paths are put right, and the shards say how it ends."""

from anyio import to_thread
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.workspace import workspace
from collectors.closing import Outcome, outcome, repair_paths
from collectors.states import RunState, ShardState


@task(name="close", retries=0, cache_policy=NO_CACHE)
async def close_run(run_id: str) -> Outcome:
    """How the run ends. Paths are left for later when it is only paused."""
    async with workspace(run_id) as here:
        shards = await to_thread.run_sync(here.storage.catalog.shards, run_id)
        end = outcome(
            [(ShardState(shard["state"]), shard["error"]) for shard in shards],
            read=sum(shard["fetched"] for shard in shards),
            quarantined=sum(shard["quarantined"] for shard in shards),
            strategy=here.collection.strategy,
        )
        if end.state is not RunState.PAUSED:
            of, storage = (here.collection.tenant, here.collection.name), here.storage
            stores = storage.rows, storage.documents, storage.cache
            repaired = await to_thread.run_sync(repair_paths, *stores, *of)
            get_run_logger().info("%s paths put right", repaired)
        return end
