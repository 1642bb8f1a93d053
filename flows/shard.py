"""One shard as a flow: the same function inline in a run, or alone on a worker."""

from typing import Any

from anyio import to_thread
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed, State

from blocks.workspace import workspace
from collectors.errors import Fenced, Refused
from collectors.reading import Reader
from collectors.states import ShardState

RENEWALS_PER_LEASE = 15
PAUSED = "Paused"


@flow(name="shard", flow_run_name="{run_id}/{shard_id}", retries=0, persist_result=False)
async def shard(run_id: str, shard_id: str) -> State:
    """Read one shard of a run, from where its last checkpoint stands."""
    async with workspace(run_id) as here:
        progress = here.storage.shards
        every = progress.lease_seconds / RENEWALS_PER_LEASE
        reader = Reader(here.collection, here.collector, progress, here.storage.queue, every)
        try:
            claim = await to_thread.run_sync(progress.claim, run_id, shard_id, here.owner)
            get_run_logger().info("reading from page %s", claim.page + 1)
            state = await reader.read(claim)
        except (Fenced, Refused) as error:
            return Cancelled(name="TakenOver", message=str(error))
        return _mirrored(state, await to_thread.run_sync(here.storage.catalog.shard, run_id, shard_id))


def _mirrored(state: ShardState, row: dict[str, Any]) -> State:
    counts = f"{row['fetched']:,} records, {row['quarantined']:,} quarantined"
    match state:
        case ShardState.COMPLETED:
            return Completed(message=counts)
        case ShardState.PAUSED:
            return Cancelled(name=PAUSED, message=f"{counts}; goes on from here when the run is resumed")
        case _:
            return Failed(message=row["error"])
