"""What waits to be carried out becomes flow runs of a deployment, which workers of its pool pick up."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from anyio import to_thread
from httpx import HTTPError
from prefect import get_client
from prefect.exceptions import ObjectNotFound, PrefectException

from blocks.sql.requests import Requests
from collectors.errors import Misconfigured, Unreachable

PAUSE = 5.0


async def hand_over(requests: Requests, run: Callable[[str], dict[str, Any]], owner: str, deployment: str) -> int:
    """All runs that wait; answers how many they were. `run` gives the row of one.

    Raises Unreachable when Prefect does not answer, Misconfigured without the deployment; what waits goes on waiting.
    """
    handed = 0
    while run_id := await to_thread.run_sync(requests.take, owner, True):
        try:
            flow_run_id = await _created(await to_thread.run_sync(run, run_id), deployment)
        except BaseException:
            await to_thread.run_sync(requests.give_back, run_id, owner, PAUSE)
            raise
        await to_thread.run_sync(requests.handed_over, run_id, owner, str(flow_run_id))
        handed += 1
    return handed


async def _created(row: dict[str, Any], deployment: str) -> UUID:
    """The flow run; the same one when that was asked for before, and the answer lost."""
    given = {"collection": row["collection"], "mode": row["mode"], "tenant": row["tenant"], "run_id": row["run_id"]}
    try:
        async with get_client() as client:
            found = await client.read_deployment_by_name(deployment)
            create = client.create_flow_run_from_deployment
            return (await create(found.id, parameters=given, idempotency_key=row["run_id"])).id
    except ObjectNotFound:
        raise Misconfigured(
            "there is no deployment {deployment} for what waits to be carried out",
            "Make it: prefect --no-prompt deploy --all, see docs/service.md",
            code="COL-0706",
            deployment=deployment,
        ) from None
    except (HTTPError, PrefectException) as error:
        raise Unreachable(
            "Prefect does not take the run {run} ({why})",
            "It is tried again as long as the service or upkeep runs.",
            code="COL-0707",
            run=row["run_id"],
            why=f"{error}".partition("\n")[0][:200],
        ) from None
