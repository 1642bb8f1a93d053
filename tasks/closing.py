"""The step that ends a run whose shards have been read."""

from anyio import to_thread
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.catalog import RunClaim
from blocks.workspace import workspace
from collectors.closing import Outcome, outcome, repair_paths
from collectors.states import RunState, ShardState


@task(name="close", retries=0, cache_policy=NO_CACHE)
async def close_run(claim: RunClaim) -> Outcome:
    """Put paths right and leave the run in the state its shards deserve."""
    async with workspace(claim.run_id) as here:
        catalog, tenant, name = here.storage.catalog, here.collection.tenant, here.collection.name
        shards = catalog.shards(claim.run_id)
        end = outcome(
            [(ShardState(shard["state"]), shard["error"]) for shard in shards],
            read=sum(shard["fetched"] for shard in shards),
            quarantined=sum(shard["quarantined"] for shard in shards),
            strategy=here.collection.strategy,
        )
        if end.state is not RunState.PAUSED:
            stores = here.storage.rows, here.storage.documents
            repaired = await to_thread.run_sync(repair_paths, *stores, tenant, name)
            get_run_logger().info("%s paths put right", repaired)
        catalog.end(claim, end.state, end.error)
    return end
