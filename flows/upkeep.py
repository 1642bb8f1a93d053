"""Upkeep as a flow, on a schedule: what waits is handed over, and what nobody needs any more is dropped."""

from anyio import to_thread
from prefect import flow
from prefect.logging import get_run_logger

from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import open_storage
from flows.handing_over import hand_over


@flow(name="upkeep", retries=0, persist_result=False)
async def upkeep(deployment: str = "collect/local") -> None:
    """Hand over the runs that wait, such as those asked for while Prefect was away, and tidy up.

    Args:
        deployment: the deployment that carries runs out
    """
    with open_storage(Settings.load()) as storage:
        handed = await hand_over(storage, this_process(), deployment)
        get_run_logger().info("%d runs were handed over", handed)
        await to_thread.run_sync(storage.spool.tidy)
        await to_thread.run_sync(storage.requests.forget)
