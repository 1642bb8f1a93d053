"""A run as a flow: plan, read the stages one after another, close, report."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from httpx import HTTPStatusError, TransportError
from prefect import flow, runtime, tags
from prefect.context import TagsContext
from prefect.exceptions import Abort, Pause
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed, State

from blocks.acting import PREFECT, acting
from blocks.loaders import loader_beside
from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import open_storage
from blocks.workspace import Workspace, workspace
from collectors.closing import Outcome, given_up
from collectors.errors import CollectError, Fenced, Misconfigured, Refused, Unreachable, Unusable, in_a_line, named
from collectors.interfaces import RunClaim
from collectors.keeping import Stop, kept, until_stopped
from collectors.models import EVERYTHING, Mode, Scope
from collectors.placing import POOL
from collectors.states import Desired, RunState, ShardState
from flows.adopting import TOLD_PAUSED
from flows.beginning import begin, carried_out_before
from flows.placing import place, placed_at
from flows.prefect_states import TAKEN_OVER, is_cancelling, is_deployed
from flows.reading import read_stage
from flows.reconciling import IN_PREFECT, Slots, mirrored, reconcile
from flows.shard import RENEWALS_PER_LEASE, RETRYING, begun, shard
from flows.staying import called_for, goes_on, leave
from tasks.closing import close_run
from tasks.loading import load_stage, recovering
from tasks.planning import plan_run
from tasks.reporting import progress_shown, report_run

STAYS_PAUSED = "COL-0430"


def _called() -> str:
    given = runtime.flow_run.parameters
    return " ".join(filter(None, (given["collection"], given["mode"], given["run_id"])))


@flow(name="collect", flow_run_name=_called, retries=0, persist_result=False)
async def collect(
    collection: str,
    mode: Mode = "full",
    tenant: str = "default",
    run_id: str | None = None,
    scope: Scope = EVERYTHING,
    schedule: str | None = None,
) -> State:
    """Collect a registered collection.

    Args:
        collection: name of the collection
        mode: what to read: everything, what changed since the watermark, or the scope alone
        tenant: owner of the collection
        run_id: a run to go on with; a new one begins when left empty
        scope: what a run of mode range is about; for that alone
        schedule: the schedule that is due; filled in by that
    """
    again = is_deployed() and await to_thread.run_sync(carried_out_before, runtime.flow_run.id)
    if not (run_id := run_id or again):
        begun = await to_thread.run_sync(begin, tenant, collection, mode, scope, schedule)
        if not begun.here:
            return Completed(name=begun.name, message=begun.why)
        run_id = begun.run_id
    async with AsyncExitStack() as stack:
        try:
            here = await stack.enter_async_context(workspace(run_id))
        except Misconfigured as error:
            await to_thread.run_sync(_never_began, run_id, error)
            raise
        if again and (over := await _refuse_second(here)):
            return over
        if is_deployed() and not await called_for(here.storage, run_id):
            await leave(here.storage, run_id)
        try:
            claim = await to_thread.run_sync(here.storage.catalog.lead, run_id, here.owner, runtime.flow_run.id)
        except Refused as error:
            return await _not_begun(here, error)
        # Tagged tasks cost a call to Prefect's concurrency limits each; only flows carry the tags.
        with TagsContext(current_tags=set()):
            return await _led(here, claim)


async def _not_begun(here: Workspace, why: Refused) -> State:
    """Paused, interrupted or cancelled before it began, it is left so; raises `why` when there is another reason."""
    if why.code != STAYS_PAUSED:
        raise why
    found = await to_thread.run_sync(here.storage.control.let_go, here.run_id, here.owner)
    if found.state != RunState.CANCELLED:
        await leave(here.storage, here.run_id)
    return _mirrored(Outcome(RunState.CANCELLED))


async def _refuse_second(here: Workspace) -> State | None:
    """A process that is alive keeps its run: Prefect may start another one for it. Raises Abort then, which changes
    nothing that Prefect shows. A run of which nothing is left to do is answered as it ended."""
    left = await to_thread.run_sync(here.storage.catalog.seconds_led, here.run_id)
    while left:
        await asyncio.sleep(min(left, 0.5))
        before, left = left, await to_thread.run_sync(here.storage.catalog.seconds_led, here.run_id)
        if left > before:
            raise Abort(f"another process works on run {here.run_id}")
    ended = RunState((await to_thread.run_sync(here.storage.catalog.run, here.run_id))["state"])
    return _mirrored(Outcome(ended)) if ended in (RunState.COMPLETED, RunState.CANCELLED) else None


def _never_began(run_id: str, why: Misconfigured) -> None:
    """Whoever waits for the run is told; one that is not there waits for nothing."""
    with open_storage(Settings.load()) as storage, suppress(Misconfigured, Refused):
        claim = storage.catalog.lead(run_id, this_process(), runtime.flow_run.id)
        storage.catalog.end(claim, RunState.FAILED, str(why))


def labels(collection: str, mode: str, tenant: str) -> list[str]:
    return [f"collection:{collection}", f"mode:{mode}", f"tenant:{tenant}"]


async def _led(here: Workspace, claim: RunClaim) -> State:
    catalog = here.storage.catalog
    try:
        end = await _kept(here, claim)
        while not await to_thread.run_sync(catalog.end, claim, end.state, end.error):
            end = await _kept(here, claim)
    except Fenced as error:
        return Cancelled(name=TAKEN_OVER, message=in_a_line(str(error)))
    except BaseException as error:
        with suppress(Fenced, Unreachable, Refused):
            _adopt(here, error)
            catalog.end(claim, *_torn(error, catalog.desired(here.run_id)))
            if isinstance(error, Pause):
                # Nobody leads it now who would take away the time after which Prefect fails it.
                await reconcile(here.storage, here.run_id)
        raise
    await report_run(here.run_id)
    if end.state is RunState.PAUSED:
        await to_thread.run_sync(catalog.leave_what_rests, here.run_id, "all that is left of it is paused")
        # Never as cancelled: Prefect would cancel the shards that are read elsewhere.
        await leave(here.storage, here.run_id)
    return _mirrored(end)


def _adopt(here: Workspace, error: BaseException) -> None:
    """What Prefect means by ending this process."""
    with acting(PREFECT):
        if isinstance(error, Pause):
            here.storage.control.pause(here.run_id, None, f"paused {IN_PREFECT}", hard=True)
            here.storage.flow_runs.note_told(here.run_id, None, TOLD_PAUSED)
        elif not isinstance(error, Exception) and is_deployed() and is_cancelling(runtime.flow_run.id):
            here.storage.control.cancel(here.run_id, None, f"cancelled {IN_PREFECT}")


async def _kept(here: Workspace, claim: RunClaim) -> Outcome:
    every = here.storage.catalog.lease_seconds / RENEWALS_PER_LEASE
    slots: Slots = {}
    try:
        while True:
            renew = partial(here.storage.catalog.renew, claim)
            async with kept(renew, every) as stop, mirrored(here.storage, here.run_id, slots):
                end = await _stages(here, claim, stop, slots)
                if end.state is not RunState.PAUSED or not await _woken(here, claim, stop):
                    return end
    except (Fenced, Unreachable):
        raise
    except CollectError as error:
        return Outcome(RunState.FAILED, str(error))


async def _woken(here: Workspace, claim: RunClaim, stop: Stop) -> bool:
    """Whether a run that was paused goes on while this process waits for it."""
    if stop.desired is not Desired.PAUSE:
        return False
    await to_thread.run_sync(here.storage.catalog.rest, claim)
    if not await goes_on(here.storage, claim.run_id):
        return False
    await to_thread.run_sync(here.storage.catalog.wake, claim)
    return True


def _torn(error: BaseException, wish: Desired) -> tuple[RunState, str | None]:
    """A run that was stopped from outside, or lost Prefect, can go on; one that met a defect of ours has failed."""
    if isinstance(error, Exception) and not _is_away(error):
        return RunState.FAILED, str(named(error))
    return RunState.CANCELLED if wish is Desired.CANCEL else RunState.PAUSED, None


def _is_away(error: Exception) -> bool:
    """Whether it is Prefect that is away, or has too much to do."""
    if isinstance(error, HTTPStatusError):
        return error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, Unreachable | TransportError)


async def _stages(here: Workspace, claim: RunClaim, stop: Stop, slots: Slots) -> Outcome:
    async with loader_beside(here.storage, stop):
        row = await to_thread.run_sync(here.storage.catalog.run, claim.run_id)
        planned = row["planned"] or await until_stopped(stop, plan_run(claim)) is not None
        loaded = planned and await _stages_loaded(here, claim, stop, slots)
        if await to_thread.run_sync(here.storage.catalog.desired, claim.run_id) is Desired.CANCEL:
            return Outcome(RunState.CANCELLED)
        return await close_run(claim.run_id, loaded)


async def _stages_loaded(here: Workspace, claim: RunClaim, stop: Stop, slots: Slots) -> bool:
    """True when nothing is left to read that may be read, and what was read is in the stores."""
    catalog = here.storage.catalog
    one = partial(_elsewhere, slots) if await placed_at(here, claim) == POOL else _one
    async with progress_shown(here), recovering(here, claim, stop):
        unfinished = partial(to_thread.run_sync, catalog.unfinished_stage, claim.run_id)
        following = await unfinished()
        while True:
            if stage := following:
                get_run_logger().info("stage %s", stage)
                await read_stage(here, stage, stop, one)
            loaded = not stop.is_set() and await until_stopped(stop, load_stage(claim))
            following = await unfinished()
            # What is held back holds back the stages behind it.
            if not loaded or following in (None, stage):
                return bool(loaded)


async def _one(
    here: Workspace, shard_id: str, started: asyncio.Event, stop: asyncio.Event, let_go: Callable[[], None]
) -> None:
    def on_running(*_: Any) -> None:
        started.set()

    def paused(reading: asyncio.Task[ShardState]) -> None:
        """Whoever resumes it does not wait until Prefect has shown that it was paused."""
        if not reading.cancelled() and not reading.exception() and reading.result() is ShardState.PAUSED:
            let_go()

    collection = here.collection
    try:
        async with begun(here, shard_id) as reading:
            reading.add_done_callback(paused)
            try:
                with tags(*labels(collection.name, collection.mode, collection.tenant)):
                    state = await shard.with_options(on_running=[on_running])(here.run_id, shard_id, return_state=True)
            except Unreachable:
                await _brought_to_rest(here, reading, stop)
                return
        await _raise_unusable(state)
        if state.is_failed() and state.name != RETRYING:
            await _leave_if_given_up(here, shard_id, stop)
    finally:
        started.set()


async def _elsewhere(
    slots: Slots, here: Workspace, shard_id: str, started: asyncio.Event, stop: asyncio.Event, _: Callable[[], None]
) -> None:
    await place(here, slots, shard_id, started, stop)
    row = await to_thread.run_sync(here.storage.catalog.shard, here.run_id, shard_id)
    if row["state"] == ShardState.FAILED:
        await _leave_if_given_up(here, shard_id, stop)


async def _leave_if_given_up(here: Workspace, shard_id: str, stop: asyncio.Event) -> None:
    counted = partial(here.storage.catalog.errors, here.run_id)
    if await to_thread.run_sync(given_up, here.collection.strategy, counted):
        why = f"shard {shard_id} failed"
        await to_thread.run_sync(here.storage.catalog.desire, here.run_id, Desired.LEAVE, why)
        stop.set()


async def _brought_to_rest(here: Workspace, reading: asyncio.Task[ShardState], stop: asyncio.Event) -> None:
    """Prefect shows a run, it does not carry it: when it is gone, what is being read still comes to a checkpoint."""
    await to_thread.run_sync(here.storage.catalog.desire, here.run_id, Desired.LEAVE, "Prefect stopped answering")
    stop.set()
    await asyncio.wait({reading})


async def _raise_unusable(state: State) -> None:
    """A store that fails one shard fails them all: the run ends here, and goes on when the store is well again."""
    if state.is_failed() and isinstance(cause := await state.aresult(raise_on_failure=False), Unusable | Unreachable):
        raise cause


def _mirrored(end: Outcome) -> State:
    match end.state:
        case RunState.COMPLETED:
            return Completed()
        case RunState.PARTIALLY_COMPLETED:
            return Completed(name="PartiallyCompleted", message=in_a_line(end.error) or "records were quarantined")
        case RunState.CANCELLED:
            return Cancelled(message="cancelled: what was read stays")
        case _:
            return Failed(message=in_a_line(end.error))
