"""How a process waits in place for what is paused, and how it leaves so that Prefect's Resume starts another one."""

import asyncio
import time
from functools import partial
from typing import NoReturn

from anyio import to_thread
from httpx import HTTPError
from prefect import runtime
from prefect.exceptions import Pause, PrefectException
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.states import Paused, Running, State, Suspended

from blocks.acting import PREFECT, acting
from blocks.sql.retrying import GIVEN_UP
from blocks.sql.shards import desired_of
from blocks.stores import Storage
from collectors.states import OPEN_RUNS, TO_REST, Desired
from flows.adopting import TOLD_PAUSED
from flows.control import resume
from flows.prefect_states import tell, unanswered

LOOK_EVERY = 0.25
SECONDS_TO_LET_GO = 70.0
SECONDS_TO_TELL = 5.0
SECONDS_IN_PLACE = 900.0  # for which a process stays for what is paused; then it leaves, and the pause stays


async def called_for(storage: Storage, run_id: str, shard_id: str | None = None) -> bool:
    """Whether this process is to work, which Prefect has started.

    What Prefect shows as paused is started by nothing but its Resume or Retry: that is somebody's wish. What was paused
    while it waited for a worker is not.
    """
    wish, told = await to_thread.run_sync(_wish, storage, run_id, shard_id)
    if wish in TO_REST and told == TOLD_PAUSED:
        # Whoever was to pause may not have let go yet.
        with acting(PREFECT):
            await to_thread.run_sync(partial(resume, storage, run_id, shard_id, wait=SECONDS_TO_LET_GO))
        await to_thread.run_sync(storage.flow_runs.note_told, run_id, shard_id, None)
        wish, _ = await to_thread.run_sync(_wish, storage, run_id, shard_id)
    return wish not in TO_REST


def done_over(storage: Storage, run_id: str, shard_id: str) -> bool:
    """Whether the run had ended and its shard was started all the same: by Prefect's Retry, and it is retried then; or
    late, since nobody had taken it up before, and it is left.

    Raises Refused when nothing of it can be done over.
    """
    if storage.catalog.run(run_id)["state"] in OPEN_RUNS:
        return False
    if runtime.flow_run.run_count > 1 and storage.catalog.shard(run_id, shard_id)["state"] in GIVEN_UP:
        with acting(PREFECT):
            storage.control.retry(run_id, "specific", (shard_id,), awaited=True)
    return True


async def goes_on(storage: Storage, run_id: str, shard_id: str | None = None) -> bool:
    """Whether what was paused goes on while this process waits for it, which Prefect is told."""
    wish, _ = await to_thread.run_sync(_wish, storage, run_id, shard_id)
    if wish is not Desired.PAUSE:
        return False
    get_run_logger().info("paused; goes on within a second when it is resumed")
    await _told(storage, run_id, shard_id, Paused(), TOLD_PAUSED)
    give_up = time.monotonic() + SECONDS_IN_PLACE
    while wish is Desired.PAUSE and time.monotonic() < give_up:
        await asyncio.sleep(LOOK_EVERY)
        wish, _ = await to_thread.run_sync(_wish, storage, run_id, shard_id)
    if wish is Desired.RUN:
        await _told(storage, run_id, shard_id, Running(), None)
    return wish is Desired.RUN


async def leave(storage: Storage, run_id: str, shard_id: str | None = None) -> NoReturn:
    """End this process's part of a flow run that is paused. Raises Pause, as Prefect's own suspending does; Unreachable
    when Prefect does not answer."""
    state = Suspended(message="goes on from its last checkpoint when it is resumed")
    if not await _told(storage, run_id, shard_id, state, TOLD_PAUSED):
        raise unanswered(PREFECT_API_URL.value(), run_id)
    raise Pause(state=state)


def _wish(storage: Storage, run_id: str, shard_id: str | None) -> tuple[Desired, str | None]:
    row = storage.catalog.run(run_id)
    if row["state"] not in OPEN_RUNS:
        return Desired.RUN, None
    if shard_id is None:
        return Desired(row["desired"]), row["mirrored"]
    shard = storage.catalog.shard(run_id, shard_id)
    return desired_of(row["desired"], shard["desired"]), shard["mirrored"]


async def _told(storage: Storage, run_id: str, shard_id: str | None, state: State, told: str | None) -> bool:
    """Prefect is a mirror: that it does not answer changes nothing."""
    try:
        async with asyncio.timeout(SECONDS_TO_TELL):
            await tell(str(runtime.flow_run.id), state)
    except (HTTPError, PrefectException, TimeoutError) as error:
        get_run_logger().warning("Prefect could not be told: %s", error)
        return False
    await to_thread.run_sync(storage.flow_runs.note_told, run_id, shard_id, told)
    return True
