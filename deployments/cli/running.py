"""`run` and `resume`: one run as a Prefect flow in this process, with progress, Ctrl-C and a truthful exit code."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Literal

from cyclopts import Parameter

from blocks.catalog import Catalog
from blocks.process import this_process
from blocks.reports import Report, as_json, report
from blocks.settings import Settings
from blocks.storage import open_storage
from collectors.errors import Fenced, Refused, Unreachable
from collectors.states import Desired, RunState
from deployments import prefect_server
from deployments.cli.output import duration, print_json, say
from deployments.cli.progress import shown
from deployments.definitions import resolve

EXIT_CODES = {
    RunState.COMPLETED: 0,
    RunState.PARTIALLY_COMPLETED: 3,
    RunState.FAILED: 1,
    RunState.CANCELLED: 1,
    RunState.PAUSED: 130,
}


def run(
    collection: str,
    *,
    mode: Literal["full"] = "full",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    json: bool = False,
) -> int:
    """Collect a collection: a YAML file, or the name of a known one.

    Parameters
    ----------
    collection
        path of a collection file, or a name from collect list
    mode
        what to read: full reads everything
    set_
        override a key of the definition for this run, such as strategy.concurrency=2
    json
        print the result as one JSON object
    """
    settings = Settings.load()
    with open_storage(settings) as storage:
        definition = resolve(collection, (f"mode={mode}", *set_), storage.catalog)
        api = _server(settings)
        from flows.running import mark_crashed, run_in_this_process

        begun = storage.catalog.begin(definition, this_process())
        if begun.superseded:
            say(f"run {begun.superseded} had stopped; this one takes its place")
            asyncio.run(mark_crashed(storage.catalog.run(begun.superseded)["flow_run_id"]))
        try:
            return _follow(storage.catalog, begun.run_id, api, run_in_this_process, json)
        except Exception as error:
            with suppress(Fenced):
                storage.catalog.end(begun, RunState.FAILED, f"could not be started: {error}")
            raise


def resume(run_id: str, *, json: bool = False) -> int:
    """Go on with a run that was interrupted, from its last checkpoints.

    Parameters
    ----------
    run_id
        the run, as collect status shows it
    json
        print the result as one JSON object
    """
    settings = Settings.load()
    with open_storage(settings) as storage:
        row = storage.catalog.run(run_id)
        if row["state"] == RunState.COMPLETED:
            say(f"run {run_id} is complete already")
            return _finish(report(storage.catalog, run_id), None, json)
        if row["state"] == RunState.CANCELLED:
            raise Refused(
                f"run {run_id} was cancelled ({row['reason']})", f"Begin anew: collect run {row['collection']}"
            )
        _wait_for_lease(storage.catalog, run_id)
        api = _server(settings)
        from flows.running import mark_crashed, run_in_this_process

        asyncio.run(mark_crashed(row["flow_run_id"]))
        return _follow(storage.catalog, run_id, api, run_in_this_process, json)


def _server(settings: Settings) -> str:
    if not settings.prefect_api_url and not prefect_server.running(settings):
        say("starting the Prefect server (end it with: collect down) …")
    return prefect_server.use(settings)


def _wait_for_lease(catalog: Catalog, run_id: str) -> None:
    """Wait out the lease of a process that may be dead; one that is renewed meanwhile is alive."""
    left = catalog.seconds_held(run_id)
    if left:
        say(f"run {run_id} is still leased for {left:.0f} s; waiting whether its process is alive …")
    while left:
        time.sleep(min(left, 0.5))
        before, left = left, catalog.seconds_held(run_id)
        if left > before:
            raise Refused(
                f"run {run_id} is under way: its process renews its lease", f"Watch it: collect status {run_id}"
            )


def _follow(catalog: Catalog, run_id: str, api: str, start: Callable[[str], Awaitable[None]], json: bool) -> int:
    try:
        with shown(lambda: report(catalog, run_id)):
            asyncio.run(_interruptible(catalog, run_id, start(run_id)))
    except Exception as error:
        if prefect_server.healthy(api):
            raise
        raise Unreachable(
            f"the Prefect server at {api} stopped answering", f"Bring it back, then: collect resume {run_id}"
        ) from error
    return _finish(report(catalog, run_id), api, json)


async def _interruptible(catalog: Catalog, run_id: str, running: Awaitable[None]) -> None:
    with _first_interrupt(lambda: _pause(catalog, run_id)):
        await running


def _pause(catalog: Catalog, run_id: str) -> None:
    say("stopping after the last checkpoint; Ctrl-C again stops at once …")
    catalog.desire(run_id, Desired.PAUSE, "interrupted")


@contextmanager
def _first_interrupt(handle: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT is handled; the second one does what it always does."""
    loop = asyncio.get_running_loop()

    def once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        handle()

    loop.add_signal_handler(signal.SIGINT, once)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _finish(done: Report, api: str | None, json: bool) -> int:
    if json:
        print_json(as_json(done))
    else:
        _summarise(done)
    if api and done.flow_run_id:
        say(f"  Prefect   {prefect_server.ui(api)}/runs/flow-run/{done.flow_run_id}")
    return EXIT_CODES.get(RunState(done.state), 4)


def _summarise(done: Report) -> None:
    words = {"COMPLETED": "done", "PARTIALLY_COMPLETED": "partly done", "PAUSED": "paused"}
    counts = "   ".join(f"{count:,} {name}" for name, count in done.records.items() if name != "fetched")
    print(f"{done.run_id}  {done.collection}  {words.get(done.state, done.state.lower())} in {duration(done.seconds)}")
    print(f"  records   {done.records['fetched']:,} fetched   {counts}   {done.rate:,.0f}/s")
    for shard in done.shards:
        if shard.error:
            print(f"  shard     {shard.shard_id} {shard.label}: {shard.error}")
    for reason, count in done.reasons.items():
        print(f"  refused   {count:,} {reason}")
    if done.error and not any(shard.error for shard in done.shards):
        print(f"  error     {done.error}")
    print(f"  next      {'      '.join(_next(done))}")
    sys.stdout.flush()


def _next(done: Report) -> list[str]:
    if done.state in (RunState.PAUSED, RunState.FAILED):
        return [f"collect resume {done.run_id}", f"collect shards {done.run_id}"]
    more = [f"collect quarantine {done.run_id}"] if done.records["quarantined"] else []
    return [*more, f"collect tree {done.collection}", f"collect export {done.collection}", "collect status"][:3]
