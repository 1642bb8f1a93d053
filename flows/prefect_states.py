"""Prefect's states of flow runs: asked for many at once, and told. Prefect is a mirror, which may be away."""

from collections.abc import Awaitable, Iterable
from typing import TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from collectors.errors import Unreachable

Answer = TypeVar("Answer")
# Names of states that are ours: the process left, and nobody gave the run or shard up.
PAUSED, TAKEN_OVER, LEFT = OURS = ("Paused", "TakenOver", "Left")
MOST_ASKED = 200  # flow runs in one question


async def asked(call: Awaitable[Answer]) -> Answer:
    """Raises Unreachable when Prefect does not answer."""
    try:
        return await call
    except (HTTPError, PrefectException) as error:
        raise unanswered_by(error) from None


def unanswered_by(error: Exception) -> Unreachable:
    return Unreachable(
        "Prefect does not take or tell what waits to be carried out ({why})",
        "It is tried again as long as the service or upkeep runs.",
        code="COL-0707",
        why=f"{error}".partition("\n")[0][:200],
    )


async def flow_runs(ids: Iterable[str]) -> dict[str, FlowRun]:
    """Those that Prefect knows, by their ids."""
    wanted, found = [*ids], {}
    async with get_client() as client:
        for start in range(0, len(wanted), MOST_ASKED):
            some = FlowRunFilterId(any_=[UUID(each) for each in wanted[start : start + MOST_ASKED]])
            for each in await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=some)):
                found[str(each.id)] = each
    return found


async def tell(flow_run_id: str, state: State) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(UUID(flow_run_id), state, force=True)


def is_deployed() -> bool:
    """Whether the present flow run is one of a deployment, and not a subflow of one; Prefect's `runtime` takes both for
    one, and asks its server."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def is_cancelling(flow_run_id: str) -> bool:
    """Asked where nothing can be awaited any more; False when Prefect does not answer."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run_id)).state
    except (HTTPError, PrefectException):
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def unanswered(api: str, run_id: str) -> Unreachable:
    return Unreachable(
        "the Prefect server at {api} stopped answering",
        "Bring it back, then: collect resume {run}",
        code="COL-0701",
        api=api,
        run=run_id,
    )
