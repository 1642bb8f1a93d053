"""Runs and placed shards beside Prefect's flow runs: what its buttons mean is adopted, what is wrong there put right.

Leases decide who works; Prefect's states say what somebody wants, or is told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio import to_thread
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelled

from blocks.acting import PREFECT, acting
from blocks.sql.leases import is_held
from blocks.sql.shards import desired_of
from blocks.stores import Storage
from collectors.errors import CollectError, Refused
from collectors.models import Collection
from collectors.states import ENDED_SHARDS, OPEN_RUNS, Desired, RunState, ShardState, Verb
from flows.adopting import Step, decided
from flows.prefect_states import asked, flow_runs, tell

LOOK_EVERY = 2.0
TO_BEGIN = timedelta(seconds=20)  # from RUNNING in Prefect to a lease of ours; whoever has none then has died
TO_START = timedelta(minutes=5)  # from PENDING to RUNNING
TO_GO_ON = 5_000_000  # microseconds
MOST_STARTS = 5
ENDED = frozenset[str](ENDED_SHARDS)
IN_PREFECT = "in Prefect"
log = logging.getLogger(__name__)


@dataclass
class Slot:
    """A placed shard that may be started in Prefect: how often it was, without a page that was read since."""

    page: int = -1
    starts: int = 0


Slots = dict[str, Slot]  # by shard
NOBODY: Slots = {}


@asynccontextmanager
async def mirrored(storage: Storage, run_id: str, slots: Slots) -> AsyncIterator[None]:
    """Meanwhile the run and its placed shards are held beside Prefect, now and again."""
    looking = asyncio.create_task(_looking(storage, run_id, slots))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking}, timeout=LOOK_EVERY)


async def _looking(storage: Storage, run_id: str, slots: Slots) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            await reconcile(storage, run_id, slots)
        except CollectError as error:
            log.debug("%s", error)


async def reconcile_all(storage: Storage) -> None:
    """The runs that nobody leads; whoever leads one looks after it. Raises Unreachable when Prefect does not answer."""
    catalog = storage.catalog
    for state in OPEN_RUNS:
        for run_id in await to_thread.run_sync(catalog.with_state, state):
            if not await to_thread.run_sync(catalog.seconds_led, run_id):
                await reconcile(storage, run_id)


async def reconcile(storage: Storage, run_id: str, slots: Slots = NOBODY) -> None:
    """Once. Of its shards those are started that have a slot; the run itself, where nobody leads it.

    Raises Unreachable when Prefect does not answer; our side has settled then.
    """
    await to_thread.run_sync(storage.control.settle, run_id)
    run = await to_thread.run_sync(storage.catalog.run, run_id)
    shards = await to_thread.run_sync(storage.flow_runs.placed, run_id)
    if run["state"] not in OPEN_RUNS:
        return
    of = {row["flow_run_id"]: row.get("shard_id") for row in (run, *shards) if row["flow_run_id"]}
    known = await asked(flow_runs(of))
    for id, shard_id in of.items():
        if id in known:
            await _follow(storage, run_id, shard_id, known[id], slots)
        elif shard_id in slots:
            await to_thread.run_sync(storage.flow_runs.note, run_id, shard_id, None)


async def _follow(storage: Storage, run_id: str, shard_id: str | None, flow_run: FlowRun, slots: Slots) -> None:
    # Read after Prefect was asked: what it says of a shard that has ended since is old.
    catalog = storage.catalog
    run = await to_thread.run_sync(catalog.run, run_id)
    row = run if shard_id is None else await to_thread.run_sync(catalog.shard, run_id, shard_id)
    if run["state"] not in OPEN_RUNS or row["state"] in ENDED:
        if row["state"] == ShardState.CANCELLED and flow_run.state and not flow_run.state.is_final():
            await asked(tell(row["flow_run_id"], Cancelled()))
        return
    now = await to_thread.run_sync(catalog.now)
    worked_on = is_held(row, now)
    wish = desired_of(run["desired"], row["desired"] if shard_id else None)
    at_rest = row["state"] in (RunState.PAUSED, ShardState.PAUSED)
    step = decided(flow_run.state, wish, row["mirrored"], worked_on, at_rest) if flow_run.state else Step()
    if wish is Desired.RUN and not worked_on and not step.verb:
        await _started_if_due(storage, run, row, flow_run, step, slots, now)
    elif not step.verb or await to_thread.run_sync(_adopted, storage, run_id, shard_id, step):
        await _told(storage, row, flow_run, step)


async def _started_if_due(
    storage: Storage,
    run: Mapping[str, Any],
    row: Mapping[str, Any],
    flow_run: FlowRun,
    step: Step,
    slots: Slots,
    now: int,
) -> None:
    shard_id = row.get("shard_id")
    if _is_about_to(run, row, now) or not _is_ours_to_start(run, shard_id, flow_run, slots):
        return
    if _is_stuck(flow_run) or (step.tell and step.tell.is_scheduled()):
        await _started(storage, row, flow_run, slots.get(shard_id or ""))


async def _told(storage: Storage, row: Mapping[str, Any], flow_run: FlowRun, step: Step) -> None:
    if step.tell:
        log.info("Prefect is told that %s is %s", flow_run.name, step.tell.name)
        await asked(tell(row["flow_run_id"], step.tell))
    if step.told != row["mirrored"]:
        await to_thread.run_sync(storage.flow_runs.note_told, row["run_id"], row.get("shard_id"), step.told)


def _adopted(storage: Storage, run_id: str, shard_id: str | None, step: Step) -> bool:
    """Whether our state allows it now; if not it is looked at again."""
    control = storage.control
    try:
        with acting(PREFECT):
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


def _is_ours_to_start(run: Mapping[str, Any], shard_id: str | None, flow_run: FlowRun, slots: Slots) -> bool:
    """What the service carries out it hands over itself, unless it hangs; what was started by hand is gone on with by
    hand."""
    if shard_id:
        return shard_id in slots
    return flow_run.deployment_id is not None and (not run["awaited"] or _is_stuck(flow_run))


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


async def _started(storage: Storage, row: Mapping[str, Any], flow_run: FlowRun, slot: Slot | None) -> None:
    """Any worker may take it up. A shard that is started again and again and reads nothing has failed."""
    if slot:
        slot.starts = slot.starts + 1 if slot.page == row["page"] else 1
        slot.page = row["page"]
        if slot.starts > MOST_STARTS:
            said = flow_run.state and (flow_run.state.message or flow_run.state.name)
            why = CollectError(
                "its flow run was started {count} times and read nothing ({said})",
                "See why: prefect flow-run logs {flow_run}; then: collect retry {run}/{shard}",
                code="COL-0433",
                count=MOST_STARTS,
                said=f"{said:.200}",
                flow_run=row["flow_run_id"],
                run=row["run_id"],
                shard=row["shard_id"],
            )
            await to_thread.run_sync(storage.control.fail, row["run_id"], row["shard_id"], str(why))
            return
    policy = flow_run.empirical_policy.model_copy(update={"retry_type": None})
    async with get_client() as client:
        await asked(client.update_flow_run(flow_run.id, empirical_policy=policy))
    await asked(tell(row["flow_run_id"], AwaitingRetry()))
    await to_thread.run_sync(storage.flow_runs.note_told, row["run_id"], row.get("shard_id"), None)
