"""`run`: one run as a Prefect flow in this process, with progress, Ctrl-C and a truthful exit code."""

import asyncio
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from blocks.prefect_health import healthy
from blocks.process import this_process
from blocks.reports import Report, again, as_json, in_words, report
from blocks.settings import Settings
from blocks.sql.catalog import Catalog
from blocks.sql.database import LONGEST_OUTAGE
from blocks.stores import Storage, open_storage
from collectors.errors import Fenced, Refused, Unusable, named
from collectors.language import spoken
from collectors.models import Collection
from collectors.quality import in_words as said_of
from collectors.states import OPEN_RUNS, RESUMING, TO_REST, Desired, RunState
from collectors.validating import refuse_to_come
from deployments import prefect_server
from deployments.cli.output import duration, print_json, say, show, show_warnings
from deployments.cli.progress import shown
from deployments.definitions import resolve

UNREACHABLE = 5
OLDER = "older than known"
SECONDS_TO_LEAVE = 2.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODES = {
    RunState.COMPLETED: 0,
    RunState.PARTIALLY_COMPLETED: 3,
    RunState.FAILED: 1,
    RunState.CANCELLED: 1,
    RunState.PAUSED: 130,
}


def run(
    collection: str,
    /,
    *,
    mode: Literal["full", "incremental", "range"] | None = None,
    under: str | None = None,
    ids: str | None = None,
    since: str | None = None,
    until: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Collect a collection: a YAML file, or the name of a known one.

    Examples
        $ collect run demo
        $ collect run tests.yaml --set strategy.concurrency=2
        $ collect run demo --mode incremental

    Parameters
    ----------
    collection
        path of a collection file, or a name from collect list
    mode
        what to read, instead of what the definition says: full reads everything, incremental what changed since
        the last run, range the part that is named
    under
        a range: path of a directory, as collect tree shows it; what is below it
    ids
        a range: numbers of cases, as 100..200, 100.. or ..200
    since
        a range: changed at or after this time, with its zone, as 2026-01-01T00:00:00+08:00
    until
        a range: changed at or before this time, with its zone
    set_
        override a key of the definition for this run, such as strategy.concurrency=2
    tenant
        whose collection, when it is called by its name
    json
        print the result as one JSON object
    """
    settings = Settings.load()
    with open_storage(settings, LONGEST_OUTAGE) as storage:
        catalog = storage.catalog
        given = _given(mode, {"under": under, "ids": ids, "since": since, "until": until})
        definition, of_file = resolve(collection, set_, storage.registry, tenant, given)
        refuse_to_come(definition.scope)
        _refuse_another_source(storage, collection, of_file)
        api = server(settings)
        begun = catalog.begin(definition, this_process(), of_file)
        if begun.superseded:
            say("run {run} had stopped; this one takes its place", run=begun.superseded)
        try:
            return follow(catalog, begun.run_id, begun.superseded, api, json)
        except Exception as error:
            with suppress(Fenced):
                catalog.end(begun, RunState.FAILED, str(named(error)))
            raise


def _refuse_another_source(storage: Storage, file: str, of_file: Collection | None) -> None:
    """Of what is registered: the records of both would be taken for those of one."""
    found = of_file and storage.registry.in_force(of_file.tenant, of_file.name)
    if found and _address(found[1]) != _address(of_file):
        raise Refused(
            "{name} is registered with another source than {file} names",
            "Register it (collect register {quoted}), or give the file a name of its own.",
            code="COL-0435",
            name=of_file.name,
            file=file,
            quoted=shlex.quote(file),
        )


def _address(of: Collection) -> tuple[str, Any]:
    return of.collector, of.source.get("base_url")


def _given(mode: str | None, scope: dict[str, str | None]) -> dict[str, Any]:
    """What is named on the command line takes the place of mode and scope; a part alone means a range."""
    named = {key: value for key, value in scope.items() if value is not None}
    return {"mode": mode or "range", "scope": named} if mode or named else {}


def server(settings: Settings) -> str:
    if not settings.prefect_api_url and not prefect_server.running(settings):
        say("starting the Prefect server (end it with: collect down) …")
    return prefect_server.use(settings)


def is_alive(catalog: Catalog, run_id: str) -> bool:
    """Whether the process that leads the run renews its lease; one that does not may be dead, and is waited for."""
    left = catalog.seconds_led(run_id)
    if left:
        say("another process holds run {run}; waiting up to {left:.0f} s for a sign of life …", run=run_id, left=left)
    while left:
        time.sleep(min(left, 0.5))
        before, left = left, catalog.seconds_led(run_id)
        if left > before:
            say("run {run} is under way already; watch it with: collect status {run} --watch", run=run_id)
            return True
    return False


def follow(catalog: Catalog, run_id: str, died: str | None, api: str, json: bool) -> int:
    """Lead the run in this process until it ends. `died` names the run whose process Prefect may still wait for."""
    from flows.running import mark_crashed, run_in_this_process, unanswered

    gone = catalog.run(died)["flow_run_id"] if died else None
    show_warnings()
    try:
        asyncio.run(mark_crashed(gone))
        with shown(lambda: _led_here(catalog, run_id)):
            _interruptible(catalog, run_id, run_in_this_process(run_id))
    except (Refused, Unusable):
        raise
    except Exception as error:
        if healthy(api):
            raise
        done = report(catalog, run_id)
        if done.state in OPEN_RUNS:
            _leave_soon(UNREACHABLE)
            raise unanswered(api, run_id) from error
        say("the Prefect server at {api} stopped answering", api=api)
        return _leave_soon(finish(done, None, json))
    return finish(report(catalog, run_id, with_delays=True), api, json)


def _led_here(catalog: Catalog, run_id: str) -> Report:
    """What only waits for a process that works on it waits for this one, which is about to."""
    now = report(catalog, run_id)
    if now.shown == RunState.PAUSED and catalog.desired(run_id) not in TO_REST:
        return replace(now, shown=RESUMING, waiting_for=None)
    return now


def _leave_soon(exit_code: int) -> int:
    """As this process ends, Prefect would try for seconds to tell each event to the server that is gone."""
    ending = threading.Timer(SECONDS_TO_LEAVE, os._exit, [exit_code])
    ending.daemon = True
    ending.start()
    return exit_code


def _interruptible(catalog: Catalog, run_id: str, running: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own, since Prefect takes SIGTERM to itself wherever it can, and dies of it."""
    with _first_interrupt(lambda: _pause(catalog, run_id)), ThreadPoolExecutor(1) as beside:
        beside.submit(copy_context().run, asyncio.run, running).result()


def _pause(catalog: Catalog, run_id: str) -> None:
    say("stopping after the last checkpoint; Ctrl-C again stops at once …")
    catalog.desire(run_id, Desired.LEAVE, "interrupted")


@contextmanager
def _first_interrupt(handle: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM is handled; the second one does what it always does."""

    def once(*_: Any) -> None:
        for each in INTERRUPTS:
            signal.signal(each, signal.SIG_DFL)
        handle()

    before = {each: signal.signal(each, once) for each in INTERRUPTS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def finish(done: Report, api: str | None, json: bool) -> int:
    if json:
        print_json(as_json(done))
        if done.state in (RunState.PAUSED, RunState.FAILED):
            say("  go on with: {command}", command=again(done))
    else:
        _summarise(done)
    if api and done.flow_run_id:
        say("  Prefect   {ui}/runs/flow-run/{flow_run}", ui=prefect_server.ui(api), flow_run=done.flow_run_id)
    return EXIT_CODES.get(RunState(done.state), 4)


def _summarise(done: Report) -> None:
    took = spoken(" in {time}", time=duration(done.seconds)) if done.seconds else ""
    show(f"{done.run_id}  {done.collection}  {_ended(done)}{took}")
    if done.records["fetched"] or not done.error:
        counts = "   ".join(f"{count:,} {spoken(name)}" for name, count in _counted(done.records))
        show(spoken("  records   {counts}   {rate:,.0f}/s", counts=counts, rate=done.rate))
    if done.delays:
        show(spoken("  delay     {delays}   from a page to all stores", delays=in_words(done.delays)))
    if done.findings:
        show(spoken("  quality   {findings}   as its source has it", findings=said_of(done.findings)))
    if done.superseded:
        show(
            spoken("  note      {count:,} records were known from a newer answer, or came twice", count=done.superseded)
        )
    _show_troubles(done)
    show(spoken("  next      {commands}", commands="      ".join(_next(done))))
    sys.stdout.flush()


def _counted(records: dict[str, int]) -> list[tuple[str, int]]:
    """As people call them; what is rare is named only where it is."""
    return [(OLDER if name == "regressed" else name, n) for name, n in records.items() if n or name != "regressed"]


def _show_troubles(done: Report) -> None:
    for shard in done.troubles:
        name = f"{shard['shard_id']} {shard['label']}"
        show(spoken("  shard     {shard}: {why}", shard=name, why=shard["error"]))
    for reason, count in done.reasons.items():
        show(spoken("  refused   {count:,} {reason}", count=count, reason=reason))
    for notice in filter(lambda notice: notice != done.error, done.notices):
        show(spoken("  note      {notice}", notice=notice))
    if done.error and done.error not in [shard["error"] for shard in done.troubles]:
        show(spoken("  error     {why}", why=done.error))


def _ended(done: Report) -> str:
    words = {
        "COMPLETED": "done",
        "PARTIALLY_COMPLETED": "partly done",
        "PAUSED": "paused",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
    }
    return spoken(words.get(done.state, done.state.lower()))


def _next(done: Report) -> list[str]:
    if done.state == RunState.PAUSED:
        return [again(done), f"collect shards {done.run_id}"]
    if done.state == RunState.FAILED:
        return [spoken("{command} (when the cause is gone)", command=again(done)), "collect errors " + done.run_id]
    failed = [again(done)] if done.troubles else []
    refused = [f"collect quarantine {done.run_id}"] if done.records["quarantined"] else []
    collection = shlex.quote(done.collection)
    return [
        *failed,
        *refused,
        f"collect tree {collection}",
        f"collect export {collection}",
        "collect status",
    ][:3]
