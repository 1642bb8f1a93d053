"""A run in this process, and what Prefect is told when an earlier process died."""

import logging
import time
from uuid import UUID

from anyio import to_thread
from httpx import HTTPError, Request, Response
from prefect import get_client, tags
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.context import AsyncClientContext
from prefect.exceptions import ObjectNotFound, Pause
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed

from blocks.prefect_health import healthy
from blocks.settings import Settings
from blocks.stores import open_storage
from flows.collect import collect, labels
from flows.prefect_states import unanswered

SECONDS_WITHOUT_PREFECT = 3.0

log = logging.getLogger(__name__)


async def run_in_this_process(run_id: str) -> None:
    """Lead a run that was begun before; how it ended stands in the catalog. Raises what kept it from being led.

    Raises Unreachable when Prefect's server goes away meanwhile.
    """
    with open_storage(Settings.load()) as storage:
        row = storage.catalog.run(run_id)
    hooks = _Patience(run_id).hooks
    async with AsyncClientContext(httpx_settings={"event_hooks": hooks}):
        with tags(*labels(row["collection"], row["mode"], row["tenant"])):
            try:
                state = await collect(row["collection"], row["mode"], row["tenant"], run_id, return_state=True)
            except Pause:
                return
    result = await state.aresult(raise_on_failure=False)
    if isinstance(result, Exception):
        raise result


class _Patience:
    """Prefect's client asks a server that is gone six times in a minute, for each call: this ends it for all of them.

    A server that answers, be it that it is busy, is asked as often as Prefect likes.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._silent_since: float | None = None
        self.hooks = {"request": [self._asked], "response": [self._answered]}

    async def _asked(self, request: Request) -> None:
        again = request.extensions.setdefault("unanswered", False)
        request.extensions["unanswered"] = True
        if again and self._silent_since is None:
            self._silent_since = time.monotonic()
        if self._silent_since is not None and time.monotonic() - self._silent_since > SECONDS_WITHOUT_PREFECT:
            api = PREFECT_API_URL.value()
            if not await to_thread.run_sync(healthy, api):
                raise unanswered(api, self._run_id)
            self._silent_since = None  # it is only busy

    async def _answered(self, response: Response) -> None:
        response.request.extensions["unanswered"] = False
        self._silent_since = None


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
            if each.state is None or each.state.is_final() or (each.deployment_id and each.id != flow_run_id):
                continue  # a shard that is read elsewhere lives on
            died = Crashed(message="its process died")
            gone_on = Completed(name="Continued", message="it goes on in another flow run")
            await client.set_flow_run_state(each.id, gone_on if each.state.is_paused() else died, force=True)
