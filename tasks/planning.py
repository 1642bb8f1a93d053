"""The step that asks the source how much there is, and cuts it into shards."""

import time

from anyio import to_thread
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.workspace import workspace
from collectors.interfaces import RunClaim
from collectors.planning import plan


@task(name="plan", retries=0, cache_policy=NO_CACHE)
async def plan_run(claim: RunClaim) -> int:
    """Save the run's plan; answers the number of shards. Asking again before it is saved does no harm."""
    async with workspace(claim.run_id) as here:
        asked_at = time.time()
        stages = await here.collector.survey()
        plans = plan(stages, here.collection.strategy)
        await to_thread.run_sync(here.storage.catalog.save_plan, claim, plans, asked_at)
    for stage in stages:
        get_run_logger().info("%s: %s records", stage.name, f"{stage.total:,}")
    return len(plans)
