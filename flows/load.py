"""Loading as a flow: a deployment that runs for as long as there is something to load."""

import asyncio

from prefect import flow
from prefect.logging import get_run_logger

from blocks.loader import load as load_batches
from blocks.settings import Settings
from blocks.stores import open_storage


@flow(name="load", retries=0, persist_result=False)
async def load() -> None:
    """Apply what is published, until the run is cancelled."""
    log = get_run_logger()
    with open_storage(Settings.load()) as storage:
        await load_batches(storage, asyncio.Event(), lambda: log.info("batches come"))
