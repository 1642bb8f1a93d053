"""Shards that are read elsewhere: each is a run of the deployment `shard`, taken up by any worker of its pool."""

import asyncio
from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from prefect import get_client
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from blocks.settings import Serving
from blocks.sql.leases import is_held
from blocks.sql.shards import desired_of
from blocks.workspace import Workspace
from collectors.errors import Misconfigured
from collectors.interfaces import RunClaim
from collectors.placing import INLINE, POOL, Placement, placement
from collectors.states import ENDED_SHARDS, Desired, ShardState
from flows.prefect_states import asked
from flows.reconciling import Slot, Slots

LOOK_EVERY = 0.5
LOCAL = "local"


def deployment() -> str:
    return f"shard/{Serving.load().work_pool or LOCAL}"


async def placed_at(here: Workspace, claim: RunClaim) -> str:
    """Where the shards of the run are read; it is settled once. Raises Misconfigured without the deployment."""
    catalog = here.storage.catalog
    row = await to_thread.run_sync(catalog.run, here.run_id)
    if row["placement"]:
        return row["placement"]
    shards = await to_thread.run_sync(catalog.shards, here.run_id)
    found = placement(here.collection, [shard["estimate"] for shard in shards])
    if found.where == POOL and not await asked(_is_deployed(deployment())):
        if here.collection.placement == POOL:
            raise Misconfigured(
                "there is no deployment {deployment} for the shards of this run",
                "Make it: prefect --no-prompt deploy --all, see docs/operate.md; or say placement: inline",
                code="COL-0713",
                deployment=deployment(),
            )
        found = Placement(INLINE, f"there is no deployment {deployment()}")
    get_run_logger().info("shards are read %s: %s", found.where, found.why)
    await to_thread.run_sync(catalog.place, claim, *found)
    return found.where


async def place(here: Workspace, slots: Slots, shard_id: str, started: asyncio.Event, stop: asyncio.Event) -> None:
    """Have a worker read the shard. Returns when it has ended, or is held back and has been let go.

    Meanwhile it has one of the `slots`: nothing else of the run is started in Prefect.
    """
    catalog = here.storage.catalog
    before = await to_thread.run_sync(catalog.shard, here.run_id, shard_id)
    run = arun_deployment(
        deployment(),
        parameters={"run_id": here.run_id, "shard_id": shard_id},
        flow_run_name=f"{here.run_id}/{shard_id}",
        timeout=0,
        idempotency_key=f"{here.run_id}:{shard_id}",
        as_subflow=True,
    )
    flow_run = await asked(run)
    await to_thread.run_sync(here.storage.flow_runs.note, here.run_id, shard_id, str(flow_run.id))
    slots[shard_id] = Slot()
    started.set()
    try:
        while not await to_thread.run_sync(_is_over, here, before, stop):
            await asyncio.sleep(LOOK_EVERY)
    finally:
        del slots[shard_id]


def _is_over(here: Workspace, before: Mapping[str, Any], stop: asyncio.Event) -> bool:
    catalog = here.storage.catalog
    row = catalog.shard(here.run_id, before["shard_id"])
    failed = row["state"] == ShardState.RETRYING and row["fence"] > before["fence"]
    if failed or row["state"] in ENDED_SHARDS or row["flow_run_id"] is None:
        return True
    if is_held(row, catalog.now()):
        return False
    return stop.is_set() or desired_of(catalog.desired(here.run_id), row["desired"]) is not Desired.RUN


async def _is_deployed(name: str) -> bool:
    async with get_client() as client:
        try:
            await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return False
    return True
