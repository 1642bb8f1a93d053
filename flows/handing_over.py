"""What waits to be carried out becomes flow runs of a deployment, which workers of its pool pick up."""

from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from anyio import to_thread
from httpx import HTTPError
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectException

from blocks.sql.catalog import Catalog
from blocks.stores import Storage
from collectors.errors import CollectError, Fenced, Misconfigured, Refused, Unreachable
from collectors.states import RunState
from flows.running import mark_crashed

Answer = TypeVar("Answer")
PAUSE = 5.0
MOST_ASKED = 200  # flow runs in one question


async def hand_over(storage: Storage, owner: str, deployment: str) -> int:
    """All runs that wait; answers how many they were. Those whose flow runs ended before they began have failed.

    Raises Unreachable when Prefect does not answer, Misconfigured without the deployment; what waits goes on waiting.
    """
    handed, requests = 0, storage.requests
    while run_id := await to_thread.run_sync(requests.take, owner, True):
        try:
            row = await to_thread.run_sync(storage.catalog.run, run_id)
            flow_run_id = await _asked(_created(row, deployment))
        except BaseException:
            await to_thread.run_sync(requests.give_back, run_id, owner, PAUSE)
            raise
        await to_thread.run_sync(requests.handed_over, run_id, owner, str(flow_run_id))
        handed += 1
    await _look_after(storage, owner)
    return handed


async def _look_after(storage: Storage, owner: str) -> None:
    """What was handed over and is held by nobody: it has failed to begin, or its process is gone, or it still waits."""
    handed = await to_thread.run_sync(storage.requests.handed)
    for flow_run in await _asked(_flow_runs(handed)) if handed else []:
        run_id, state = handed[str(flow_run.id)], flow_run.state
        begun = (await to_thread.run_sync(storage.catalog.run, run_id))["state"] != RunState.CREATED
        if begun and state and not (state.is_scheduled() or state.is_pending()):
            await mark_crashed(str(flow_run.id))
            await to_thread.run_sync(storage.requests.take_back, run_id, str(flow_run.id))
        elif state and state.is_final():
            await to_thread.run_sync(_given_up, storage.catalog, run_id, owner, state.name)


async def _created(row: dict[str, Any], deployment: str) -> UUID:
    """The flow run; the same one when that was asked for before, and the answer lost."""
    given = {name: row[name] for name in ("collection", "mode", "tenant", "run_id")}
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise Misconfigured(
                "there is no deployment {deployment} for what waits to be carried out",
                "Make it: prefect --no-prompt deploy --all, see docs/service.md",
                code="COL-0706",
                deployment=deployment,
            ) from None
        create = client.create_flow_run_from_deployment
        # One that had begun gets another flow run when it is handed over again.
        key = row["run_id"] if row["state"] == RunState.CREATED else f"{row['run_id']}:{row['fence']}"
        return (await create(found.id, parameters=given, idempotency_key=key)).id


async def _flow_runs(handed: dict[str, str]) -> list[FlowRun]:
    ids = FlowRunFilterId(any_=[UUID(each) for each in list(handed)[:MOST_ASKED]])
    async with get_client() as client:
        return await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=ids))


async def _asked(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except (HTTPError, PrefectException) as error:
        raise Unreachable(
            "Prefect does not take or tell what waits to be carried out ({why})",
            "It is tried again as long as the service or upkeep runs.",
            code="COL-0707",
            why=f"{error}".partition("\n")[0][:200],
        ) from None


def _given_up(catalog: Catalog, run_id: str, owner: str, state: str) -> None:
    """Unless it has begun meanwhile."""
    with suppress(Refused, Fenced):
        claim = catalog.lead(run_id, owner, catalog.run(run_id)["flow_run_id"])
        what = "its flow run ended as {state} before it began"
        remedy = "See why in Prefect: prefect flow-run logs {flow_run}; then ask for it again"
        flow_run = catalog.run(run_id)["flow_run_id"]
        failed = CollectError(what, remedy, code="COL-0412", state=state, flow_run=flow_run)
        catalog.end(claim, RunState.FAILED, str(failed))
