"""A run in this process, and what Prefect is told when an earlier process died."""

import logging
from uuid import UUID

from httpx import HTTPError
from prefect import get_client, tags
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from blocks.settings import Settings
from blocks.storage import open_storage
from flows.collect import collect, labels

log = logging.getLogger(__name__)


async def run_in_this_process(run_id: str) -> None:
    """Lead a run that was begun before; how it ended stands in the catalog. Raises what kept it from being led."""
    with open_storage(Settings.load()) as storage:
        row = storage.catalog.run(run_id)
    with tags(*labels(row["collection"], row["mode"], row["tenant"])):
        state = await collect(row["collection"], row["mode"], row["tenant"], run_id, return_state=True)
    result = await state.aresult(raise_on_failure=False)
    if isinstance(result, Exception):
        raise result


async def mark_crashed(flow_run_id: str | None) -> None:
    """Prefect never learns that a process died: its run and shards would be shown as running for ever."""
    if flow_run_id is None:
        return
    try:
        await _mark_crashed(UUID(flow_run_id))
    except (HTTPError, ObjectNotFound) as error:
        log.warning("Prefect could not be told that flow run %s has ended: %s", flow_run_id, error)


async def _mark_crashed(flow_run_id: UUID) -> None:
    async with get_client() as client:
        children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
        runs = [await client.read_flow_run(flow_run_id), *await client.read_flow_runs(flow_run_filter=children)]
        for each in runs:
            if each.state and not each.state.is_final():
                await client.set_flow_run_state(each.id, Crashed(message="its process died"), force=True)
