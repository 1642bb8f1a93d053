"""Runs and placed shards beside Prefect's flow runs: what its buttons mean is adopted, what is wrong there put right.

Leases decide who works; Prefect's states say what somebody wants, or is told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio import to_thread
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

from blocks.process import is_gone
from blocks.sql.shards import desired_of
from blocks.stores import Storage
from collectors.errors import CollectError, Refused
from collectors.models import Collection
from collectors.states import OPEN_RUNS, Desired, RunState, ShardState, Verb
from flows.adopting import Step, decided
from flows.prefect_states import asked, flow_runs, tell

LOOK_EVERY = 2.0
TO_BEGIN = timedelta(seconds=20)  # from RUNNING in Prefect to a lease of ours; whoever has none then has died
TO_START = timedelta(minutes=5)  # from PENDING to RUNNING
TO_GO_ON = 5_000_000  # microseconds
IN_PREFECT = "in Prefect"
log = logging.getLogger(__name__)


@asynccontextmanager
async def mirrored(storage: Storage, run_id: str) -> AsyncIterator[None]:
    """Meanwhile the run and its placed shards are held beside Prefect, now and again."""
    looking = asyncio.create_task(_looking(storage, run_id))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def _looking(storage: Storage, run_id: str) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            await reconcile(storage, run_id)
        except CollectError as error:
            log.debug("%s", error)


async def reconcile_all(storage: Storage) -> None:
    """The runs that nobody leads; whoever leads one looks after it. Raises Unreachable when Prefect does not answer."""
    catalog = storage.catalog
    for state in OPEN_RUNS:
        for run_id in await to_thread.run_sync(catalog.with_state, state):
            if not (await to_thread.run_sync(storage.control.look, run_id)).led:
                await reconcile(storage, run_id)


async def reconcile(storage: Storage, run_id: str) -> None:
    """Once. Raises Unreachable when Prefect does not answer; our side has settled then."""
    catalog = storage.catalog
    await to_thread.run_sync(storage.control.settle, run_id)
    run, shards = await to_thread.run_sync(catalog.run, run_id), await to_thread.run_sync(catalog.placed, run_id)
    if run["state"] not in OPEN_RUNS:
        return
    rows = {row["flow_run_id"]: row for row in (run, *shards) if row["flow_run_id"]}
    known = await asked(flow_runs(rows))
    now = await to_thread.run_sync(catalog.now)
    for id, flow_run in known.items():
        await _follow(storage, run, rows[id], flow_run, now)


async def _follow(
    storage: Storage, run: Mapping[str, Any], row: Mapping[str, Any], flow_run: FlowRun, now: int
) -> None:
    shard_id = row.get("shard_id")
    worked_on = row["lease_until"] > now and not is_gone(row["owner"])
    state = flow_run.state
    if state is None or (not worked_on and not _is_ours_to_start(run, row, flow_run)):
        return
    wish = desired_of(run["desired"], row["desired"] if shard_id else None)
    if wish is Desired.RUN and not worked_on:
        if _is_about_to(run, row, now):
            return
        if _is_stuck(flow_run):
            await _start_again(row["flow_run_id"], flow_run)
            return
    at_rest = row["state"] in (RunState.PAUSED, ShardState.PAUSED)
    step = decided(state, wish, row["mirrored"], worked_on, at_rest)
    if step.verb and not await to_thread.run_sync(_adopted, storage, run["run_id"], shard_id, step):
        return
    if step.tell:
        log.info("Prefect is told that %s is %s", flow_run.name, step.tell.name)
        await asked(tell(row["flow_run_id"], step.tell))
    if step.told != row["mirrored"]:
        await to_thread.run_sync(storage.catalog.note_told, run["run_id"], shard_id, step.told)


def _adopted(storage: Storage, run_id: str, shard_id: str | None, step: Step) -> bool:
    """Whether our state allows it now; if not it is looked at again."""
    control = storage.control
    try:
        match step.verb:
            case Verb.PAUSE:
                control.pause(run_id, shard_id, f"paused {IN_PREFECT}", step.hard)
            case Verb.RESUME:
                control.resume(run_id, shard_id)
            case Verb.CANCEL:
                control.cancel(run_id, shard_id, f"cancelled {IN_PREFECT}")
    except Refused:
        return False
    return True


def _is_ours_to_start(run: Mapping[str, Any], row: Mapping[str, Any], flow_run: FlowRun) -> bool:
    """What the service carries out it hands over itself; what was started by hand is gone on with by hand."""
    if row.get("shard_id"):
        return True
    return not run["awaited"] and flow_run.deployment_id is not None


def _is_about_to(run: Mapping[str, Any], row: Mapping[str, Any], now: int) -> bool:
    """A process that waits in place goes on by itself; what failed is tried again after its pause."""
    if row["desired_at"] and now - row["desired_at"] < TO_GO_ON:
        return True
    if row["state"] != ShardState.RETRYING or not row["failures"] or not row["ended_at"]:
        return False
    retry = Collection.model_validate_json(run["definition"]).strategy.shard_retry
    return now < row["ended_at"] + retry.pause(row["failures"], 0.0) * 1_000_000


def _is_stuck(flow_run: FlowRun) -> bool:
    """Nobody will begin it, or whoever did is gone."""
    state = flow_run.state
    assert state is not None
    age = datetime.now(UTC) - (state.timestamp or datetime.now(UTC))
    if state.is_running():
        return age > TO_BEGIN
    if state.is_pending():
        return age > TO_START
    in_process = flow_run.empirical_policy.retry_type == "in_process"
    return state.is_scheduled() and in_process  # which no worker takes


async def _start_again(flow_run_id: str, flow_run: FlowRun) -> None:
    policy = flow_run.empirical_policy.model_copy(update={"retry_type": None})
    async with get_client() as client:
        await asked(client.update_flow_run(flow_run.id, empirical_policy=policy))
    await asked(tell(flow_run_id, AwaitingRetry()))
