"""The step that asks the source how much there is, and cuts it into shards."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.sql.catalog import RunClaim
from blocks.workspace import workspace
from collectors.planning import plan


@task(name="plan", retries=0, cache_policy=NO_CACHE)
async def plan_run(claim: RunClaim) -> int:
    """Save the run's plan; answers the number of shards. Asking again before it is saved does no harm."""
    async with workspace(claim.run_id) as here:
        stages = await here.collector.survey()
        plans = plan(stages, here.collection.strategy)
        here.storage.catalog.save_plan(claim, plans, here.http.first_request_at or 0.0)
    for stage in stages:
        get_run_logger().info("%s: %s records", stage.name, f"{stage.total:,}")
    return len(plans)
