"""A run as a flow: plan, read the stages one after another, close, report."""

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import groupby
from random import random
from typing import Any

from anyio import to_thread
from httpx import TransportError
from prefect import flow, runtime, tags
from prefect.context import TagsContext
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed, State

from blocks.loaders import loader_beside
from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import open_storage
from blocks.workspace import Workspace, workspace
from collectors.closing import Outcome, errors_of, given_up
from collectors.errors import CollectError, Fenced, Misconfigured, Refused, Unreachable, Unusable, in_a_line, named
from collectors.interfaces import RunClaim
from collectors.keeping import kept, until_stopped
from collectors.models import EVERYTHING, Mode, Scope
from collectors.registry import load, of_mode
from collectors.states import Desired, RunState, ShardState
from flows.shard import PAUSED, RENEWALS_PER_LEASE, RETRYING, begun, shard
from tasks.closing import close_run
from tasks.loading import load_stage, recovering
from tasks.planning import plan_run
from tasks.reporting import progress_shown, report_run


def _called() -> str:
    given = runtime.flow_run.parameters
    return " ".join(filter(None, (given["collection"], given["mode"], given["run_id"])))


@flow(name="collect", flow_run_name=_called, retries=0, persist_result=False)
async def collect(
    collection: str, mode: Mode = "full", tenant: str = "default", run_id: str | None = None, scope: Scope = EVERYTHING
) -> State:
    """Collect a registered collection.

    Args:
        collection: name of the collection
        mode: what to read: everything, what changed since the watermark, or the scope alone
        tenant: owner of the collection
        run_id: a run to go on with; a new one begins when left empty
        scope: what a run of mode range is about; for that alone
    """
    run_id = run_id or await to_thread.run_sync(_begin, tenant, collection, mode, scope)
    async with AsyncExitStack() as stack:
        try:
            here = await stack.enter_async_context(workspace(run_id))
        except Misconfigured as error:
            await to_thread.run_sync(_never_began, run_id, error)
            raise
        claim = await to_thread.run_sync(here.storage.catalog.lead, run_id, here.owner, runtime.flow_run.id)
        # Tagged tasks cost a call to Prefect's concurrency limits each; only flows carry the tags.
        with TagsContext(current_tags=set()):
            return await _led(here, claim)


def _never_began(run_id: str, why: Misconfigured) -> None:
    """Whoever waits for the run is told; one that is not there waits for nothing."""
    with open_storage(Settings.load()) as storage, suppress(Misconfigured, Refused):
        claim = storage.catalog.lead(run_id, this_process(), runtime.flow_run.id)
        storage.catalog.end(claim, RunState.FAILED, str(why))


def labels(collection: str, mode: str, tenant: str) -> list[str]:
    return [f"collection:{collection}", f"mode:{mode}", f"tenant:{tenant}"]


def _begin(tenant: str, name: str, mode: Mode, scope: Scope) -> str:
    settings = Settings.load()
    with open_storage(settings) as storage:
        definition = storage.catalog.definition(tenant, name)
        if definition is None:
            raise Misconfigured(
                "there is no collection {name} in {place}",
                "Collect it once: collect run FILE; or let this process find the right stores, by COLLECT_HOME or "
                "collect storage mirror",
                code="COL-0268",
                name=name,
                place=settings.home if settings.origin == "embedded" else settings.origin,
            )
        load(definition.collector)
        return storage.catalog.begin(of_mode(definition, mode, scope), this_process()).run_id


async def _led(here: Workspace, claim: RunClaim) -> State:
    catalog = here.storage.catalog
    try:
        end = await _kept(here, claim)
        await to_thread.run_sync(catalog.end, claim, end.state, end.error)
    except Fenced as error:
        return Cancelled(name="TakenOver", message=in_a_line(str(error)))
    except BaseException as error:
        with suppress(Fenced, Unreachable):
            catalog.end(claim, *_torn(error))
        raise
    await report_run(here.run_id)
    return _mirrored(here.run_id, end)


async def _kept(here: Workspace, claim: RunClaim) -> Outcome:
    every = here.storage.catalog.lease_seconds / RENEWALS_PER_LEASE
    try:
        async with kept(partial(here.storage.catalog.renew, claim), every) as stop:
            return await _stages(here, claim, stop)
    except (Fenced, Unreachable):
        raise
    except CollectError as error:
        return Outcome(RunState.FAILED, str(error))


def _torn(error: BaseException) -> tuple[RunState, str | None]:
    """A run that was stopped from outside, or lost Prefect, can go on; one that met a defect of ours has failed."""
    if isinstance(error, Exception) and not isinstance(error, (Unreachable, TransportError)):
        return RunState.FAILED, str(named(error))
    return RunState.PAUSED, None


async def _stages(here: Workspace, claim: RunClaim, stop: asyncio.Event) -> Outcome:
    async with loader_beside(here.storage, stop):
        return await _stages_loaded(here, claim, stop)


async def _stages_loaded(here: Workspace, claim: RunClaim, stop: asyncio.Event) -> Outcome:
    catalog = here.storage.catalog
    row = await to_thread.run_sync(catalog.run, claim.run_id)
    if not row["planned"] and await until_stopped(stop, plan_run(claim)) is None:
        return Outcome(RunState.PAUSED)
    loaded: bool | None = True
    async with progress_shown(here), recovering(here, claim, stop):
        shards = await to_thread.run_sync(catalog.shards, claim.run_id)
        for stage, rows in groupby(shards, key=lambda row: row["stage"]):
            get_run_logger().info("stage %s", stage)
            await _read(here, [row["shard_id"] for row in rows if row["state"] != ShardState.COMPLETED], stop)
            loaded = not stop.is_set() and await until_stopped(stop, load_stage(claim))
            if not loaded:
                break
    return await close_run(claim.run_id, bool(loaded))


async def _read(here: Workspace, shard_ids: list[str], stop: asyncio.Event) -> None:
    """Those that failed and may be tried again are, after the others and a pause."""
    while shard_ids and not stop.is_set():
        await _side_by_side(here, shard_ids, stop)
        shards = await to_thread.run_sync(here.storage.catalog.shards, here.run_id)
        again = [each for each in shards if each["shard_id"] in shard_ids and each["state"] == ShardState.RETRYING]
        shard_ids = [each["shard_id"] for each in again]
        if again:
            retry, failures = here.collection.strategy.shard_retry, max(each["failures"] for each in again)
            pause = retry.pause(failures, random())
            get_run_logger().info("%d shards are tried again in %.1f s", len(again), pause)
            await until_stopped(stop, asyncio.sleep(pause))


async def _side_by_side(here: Workspace, shard_ids: list[str], stop: asyncio.Event) -> None:
    """Shards side by side up to the strategy's concurrency, started one after another."""
    places = asyncio.Semaphore(here.collection.strategy.concurrency)
    try:
        async with asyncio.TaskGroup() as running:
            for shard_id in shard_ids:
                await until_stopped(stop, places.acquire())
                if stop.is_set():
                    break
                started = asyncio.Event()
                running.create_task(_one(here, shard_id, started, places, stop))
                await started.wait()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _one(
    here: Workspace, shard_id: str, started: asyncio.Event, places: asyncio.Semaphore, stop: asyncio.Event
) -> None:
    def on_running(*_: Any) -> None:
        started.set()

    collection = here.collection
    try:
        async with begun(here, shard_id) as reading:
            try:
                with tags(*labels(collection.name, collection.mode, collection.tenant)):
                    state = await shard.with_options(on_running=[on_running])(here.run_id, shard_id, return_state=True)
            except Unreachable:
                await _brought_to_rest(here, reading, stop)
                return
        await _raise_unusable(state)
        if state.is_failed() and state.name != RETRYING and await _is_given_up(here):
            why = f"shard {shard_id} failed"
            await to_thread.run_sync(here.storage.catalog.desire, here.run_id, Desired.PAUSE, why)
            stop.set()
        if state.name == PAUSED:
            stop.set()
    finally:
        started.set()
        places.release()


async def _is_given_up(here: Workspace) -> bool:
    shards = await to_thread.run_sync(here.storage.catalog.shards, here.run_id)
    return given_up(here.collection.strategy, errors_of(shards))


async def _brought_to_rest(here: Workspace, reading: asyncio.Task[ShardState], stop: asyncio.Event) -> None:
    """Prefect shows a run, it does not carry it: when it is gone, what is being read still comes to a checkpoint."""
    await to_thread.run_sync(here.storage.catalog.desire, here.run_id, Desired.PAUSE, "Prefect stopped answering")
    stop.set()
    await asyncio.wait({reading})


async def _raise_unusable(state: State) -> None:
    """A store that fails one shard fails them all: the run ends here, and goes on when the store is well again."""
    if state.is_failed() and isinstance(cause := await state.aresult(raise_on_failure=False), Unusable | Unreachable):
        raise cause


def _mirrored(run_id: str, end: Outcome) -> State:
    match end.state:
        case RunState.COMPLETED:
            return Completed()
        case RunState.PARTIALLY_COMPLETED:
            return Completed(name="PartiallyCompleted", message=in_a_line(end.error) or "records were quarantined")
        case RunState.PAUSED:
            return Cancelled(name=PAUSED, message=f"go on with: collect resume {run_id}")
        case _:
            return Failed(message=in_a_line(end.error))
