"""The step that asks the source how much there is, and cuts it into shards."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.surveying import planned
from blocks.workspace import workspace
from collectors.interfaces import RunClaim


@task(name="plan", retries=0, cache_policy=NO_CACHE)
async def plan_run(claim: RunClaim) -> int:
    """Answers the number of stages."""
    async with workspace(claim.run_id) as here:
        stages, selection = await planned(here, claim)
    for stage in stages:
        get_run_logger().info("%s: %s records", stage.name, f"{stage.total:,}")
    if selection.note:
        get_run_logger().warning(selection.note)
    return len(stages)
