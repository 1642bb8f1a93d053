"""Carrying out what is asked for, in a process of its own: `python -m deployments.carrying RUNS`.

So many runs side by side are led by this process; with a work pool they are handed to its workers instead. It ends when
its stdin does: runs stop at their last checkpoints then, and go on when another process like this one begins.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

from anyio import to_thread

from blocks.acting import ACTING, SERVICE
from blocks.children import MISCONFIGURED, when_stdin_ends
from blocks.loaders import loader_staying
from blocks.process import this_process
from blocks.settings import Serving, Settings, language
from blocks.sql.ticks import PREFECTS_TURN
from blocks.stores import Storage, open_storage
from collectors.errors import CollectError, Misconfigured, named
from collectors.keeping import until_stopped
from collectors.language import LANGUAGE, spoken
from collectors.pacing import pauses
from collectors.states import OPEN_RUNS, Desired
from deployments import prefect_server
from deployments.cli.output import show_warnings

LOOK_EVERY = 0.25
LOOK_AFTER_THEM_EVERY = 5.0  # what was handed over may fail before it begins
LOOK_FOR_WHAT_IS_DUE_EVERY = 1.0
TIDY_EVERY = 60.0
LESS_URGENT = 3  # than to answer who asks
PREFECT_GONE = 3
LONGEST_PAUSE = 60.0
log = logging.getLogger("deployments.carrying")  # as a program it is called __main__


class Carrier:
    """Leads runs that wait, `most` of them side by side, until `stop` is set."""

    def __init__(self, storage: Storage, most: int, stop: asyncio.Event) -> None:
        self._storage, self._most, self._stop = storage, most, stop
        self._owner = this_process()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, Iterator[float]] = {}

    async def carry(self) -> None:
        try:
            await patiently(self._stop, self._begun)
        finally:
            left = [*self._running.values()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _begun(self) -> bool:
        if len(self._running) >= self._most or not await to_thread.run_sync(self._storage.requests.waiting):
            return False
        run_id = await to_thread.run_sync(self._storage.requests.take, self._owner)
        if run_id is None or run_id in self._running:  # Prefect may need longer to begin it than it is held
            return False
        self._running[run_id] = asyncio.create_task(self._carried_out(run_id))
        return True

    async def _carried_out(self, run_id: str) -> None:
        """One that could not be brought to its end, as a server went away, waits for longer each time."""
        from flows.running import mark_crashed, run_in_this_process

        try:
            await mark_crashed((await to_thread.run_sync(self._storage.catalog.run, run_id))["flow_run_id"])
            await run_in_this_process(run_id)
        except Exception as error:  # noqa: BLE001 - whatever it was, other runs go on, and this one is tried again
            log.warning("run %s: %s", run_id, named(error))
        finally:
            del self._running[run_id]
            await asyncio.shield(to_thread.run_sync(self._let_go, run_id))

    def _let_go(self, run_id: str) -> None:
        row = self._storage.catalog.run(run_id)
        if row["state"] in OPEN_RUNS and row["desired"] == Desired.RUN and not self._stop.is_set():
            pause = next(self._pauses.setdefault(run_id, pauses(1.0, LONGEST_PAUSE)))
            self._storage.requests.give_back(run_id, self._owner, pause)
        else:
            self._pauses.pop(run_id, None)
            self._storage.requests.give_back(run_id, self._owner)


async def handing_over(storage: Storage, pool: str, stop: asyncio.Event) -> None:
    from flows.handing_over import hand_over
    from flows.reconciling import reconcile_all

    look_anyway = time.monotonic()

    async def all_that_wait() -> bool:
        nonlocal look_anyway
        if time.monotonic() > look_anyway or await to_thread.run_sync(storage.requests.waiting, True):
            await hand_over(storage, this_process(), f"collect/{pool}")
            await reconcile_all(storage)
            look_anyway = time.monotonic() + LOOK_AFTER_THEM_EVERY
        return False

    await patiently(stop, all_that_wait)


async def applying(storage: Storage, pool: str, stop: asyncio.Event) -> None:
    """Of very many collections less often: a tenth of the time is spent on it."""
    from flows.applying import apply

    async def what_is_registered() -> bool:
        began = time.monotonic()
        await apply(storage, pool)
        await until_stopped(stop, asyncio.sleep(9 * (time.monotonic() - began)))
        return False

    await patiently(stop, what_is_registered, LOOK_AFTER_THEM_EVERY)


async def beginning(storage: Storage, stop: asyncio.Event, late: float) -> None:
    """What is due begins by itself; with a work pool `late` by as many seconds as Prefect's scheduler has for it."""

    async def what_is_due() -> bool:
        await to_thread.run_sync(storage.ticks.begin_due, late)
        return False

    await patiently(stop, what_is_due, LOOK_FOR_WHAT_IS_DUE_EVERY)


async def patiently(stop: asyncio.Event, work: Callable[[], Awaitable[bool]], every: float = LOOK_EVERY) -> None:
    """`work` again and again: at once while it says that there may be more, and later each time while it fails."""
    waits = pauses(every, LONGEST_PAUSE)
    while not stop.is_set():
        try:
            more = await work()
            waits = pauses(every, LONGEST_PAUSE)
        except CollectError as error:
            log.warning("%s", error)
            more = False
        if not more:
            await until_stopped(stop, asyncio.sleep(next(waits)))


async def tidying(storage: Storage, stop: asyncio.Event) -> None:
    while not stop.is_set():
        for tidy in (storage.control.settle_all, storage.spool.tidy, storage.requests.forget, storage.ticks.forget):
            try:
                await to_thread.run_sync(tidy)
            except CollectError as error:
                log.warning("%s", error)
        await until_stopped(stop, asyncio.sleep(TIDY_EVERY))


async def prefect_gone(settings: Settings, stop: asyncio.Event) -> bool:
    """True, and `stop` set, when this folder's own server has ended: the next process like this one starts another."""
    while not stop.is_set():
        if not settings.prefect_api_url and not await to_thread.run_sync(prefect_server.running, settings):
            log.warning("%s", spoken("this folder's Prefect server has ended; another one is started"))
            stop.set()
            return True
        await until_stopped(stop, asyncio.sleep(LOOK_AFTER_THEM_EVERY))
    return False


async def _carry_until_told(settings: Settings, runs: int) -> int:
    when_stdin_ends(lambda: os._exit(0))  # nothing is under way yet
    await _prefect_up(settings)
    stop = asyncio.Event()
    when_stdin_ends(stop.set)
    pool = Serving.load().work_pool
    with open_storage(settings) as storage:
        async with asyncio.TaskGroup() as beside:
            beside.create_task(tidying(storage, stop))
            gone = beside.create_task(prefect_gone(settings, stop))
            beside.create_task(beginning(storage, stop, PREFECTS_TURN if pool else 0.0))
            if pool:
                beside.create_task(applying(storage, pool, stop))
                await handing_over(storage, pool, stop)
            else:
                async with loader_staying(storage, stop):
                    await Carrier(storage, runs, stop).carry()
    return PREFECT_GONE if gone.result() else 0


async def _prefect_up(settings: Settings) -> None:
    waits = pauses(1.0, 10.0)
    while True:
        try:
            return await to_thread.run_sync(prefect_server.use, settings)
        except CollectError as error:
            log.warning("%s", error)
        await asyncio.sleep(next(waits))


def main() -> int:
    LANGUAGE.set(language())
    ACTING.set(SERVICE)
    os.nice(LESS_URGENT)
    show_warnings()
    try:
        return asyncio.run(_carry_until_told(Settings.load(), int(sys.argv[1])))
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED


if __name__ == "__main__":
    sys.exit(main())
