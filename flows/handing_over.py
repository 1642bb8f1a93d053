"""What waits to be carried out becomes flow runs of a deployment, which workers of its pool pick up."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from anyio import to_thread
from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound

from blocks.sql.catalog import Catalog
from blocks.stores import Storage
from collectors.errors import CollectError, Fenced, Misconfigured, Refused
from collectors.states import RunState
from flows.prefect_states import asked, flow_runs
from flows.running import mark_crashed

PAUSE = 5.0


async def hand_over(storage: Storage, owner: str, deployment: str) -> int:
    """All runs that wait; answers how many they were. Those whose flow runs ended before they began have failed.

    Raises Unreachable when Prefect does not answer, Misconfigured without the deployment; what waits goes on waiting.
    """
    handed, requests = 0, storage.requests
    while run_id := await to_thread.run_sync(requests.take, owner, True):
        try:
            row = await to_thread.run_sync(storage.catalog.run, run_id)
            flow_run_id = await asked(_created(row, deployment))
        except BaseException:
            await to_thread.run_sync(requests.give_back, run_id, owner, PAUSE)
            raise
        await to_thread.run_sync(requests.handed_over, run_id, owner, str(flow_run_id))
        handed += 1
    await _look_after(storage, owner)
    return handed


async def _look_after(storage: Storage, owner: str) -> None:
    """What was handed over and is held by nobody: it still waits, or failed to begin, or its process is gone."""
    handed = await to_thread.run_sync(storage.requests.handed)
    known = await asked(flow_runs(handed))
    for flow_run_id, run_id in handed.items():
        found = known.get(flow_run_id)
        await _judge(storage, owner, run_id, flow_run_id, found and found.state)


async def _judge(storage: Storage, owner: str, run_id: str, flow_run_id: str, state: State | None) -> None:
    """`state`: of its flow run; None when Prefect does not know that any more."""
    if state and (state.is_scheduled() or state.is_pending()):
        return
    row = await to_thread.run_sync(storage.catalog.run, run_id)
    if state is None or row["state"] != RunState.CREATED:
        if await to_thread.run_sync(storage.requests.take_back, run_id, flow_run_id) and state:
            await mark_crashed(flow_run_id)
    elif state.is_final():
        await to_thread.run_sync(_given_up, storage.catalog, run_id, owner, flow_run_id, state.name)


async def _created(row: dict[str, Any], deployment: str) -> UUID:
    """The flow run; of a run that has not begun the same one, when that was asked for before and the answer lost."""
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


def _given_up(catalog: Catalog, run_id: str, owner: str, flow_run_id: str, state: str) -> None:
    """Unless it has begun meanwhile."""
    what = "its flow run ended as {state} before it began"
    remedy = "See why in Prefect: prefect flow-run logs {flow_run}; then ask for it again"
    failed = CollectError(what, remedy, code="COL-0412", state=state, flow_run=flow_run_id)
    with suppress(Refused, Fenced):
        catalog.end(catalog.lead(run_id, owner, flow_run_id), RunState.FAILED, str(failed))
