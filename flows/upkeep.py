"""Upkeep as a flow, on a schedule: what waits is handed over, what died goes on, what nobody needs is dropped."""

from anyio import to_thread
from prefect import flow
from prefect.logging import get_run_logger

from blocks.acting import SERVICE, acting
from blocks.process import this_process
from blocks.settings import Serving, Settings
from blocks.sql.ticks import PREFECTS_TURN
from blocks.stores import open_storage
from flows.applying import apply
from flows.handing_over import hand_over
from flows.reconciling import reconcile_all


@flow(name="upkeep", retries=0, persist_result=False)
async def upkeep(deployment: str = "collect/local") -> None:
    """Hand over the runs that wait, have others go on whose processes died, apply what is registered, and tidy up.

    Args:
        deployment: the deployment that carries runs out
    """
    with acting(SERVICE), open_storage(Settings.load()) as storage:
        await to_thread.run_sync(storage.ticks.begin_due, PREFECTS_TURN)
        await reconcile_all(storage)
        await apply(storage, Serving.load().work_pool or deployment.partition("/")[2])
        handed = await hand_over(storage, this_process(), deployment)
        get_run_logger().info("%d runs were handed over", handed)
        await to_thread.run_sync(storage.spool.tidy)
        await to_thread.run_sync(storage.requests.forget)
        await to_thread.run_sync(storage.ticks.forget)
