"""The verbs that take a while, for runs and shards: pause, resume, cancel; `storage.control.retry` takes none.

The command line and the service are skins of these; whoever embeds the platform calls them with an open storage:

    with open_storage(Settings.load()) as storage:
        pause(storage, "7f3a90c1", "s02", reason="the source is slow", wait=30)
"""

import time
from collections.abc import Callable, Sequence

from blocks.sql.control import Subject
from blocks.stores import Storage
from collectors.errors import Refused
from collectors.states import CANCELLING, PAUSING, RESUMING

LOOK_EVERY = 0.1
NOT_YET = "COL-0429"
UNSETTLED = (PAUSING, RESUMING, CANCELLING)


def pause(
    storage: Storage,
    run_id: str,
    shard_id: str | None = None,
    reason: str | None = None,
    hard: bool = False,
    wait: float = 0.0,
) -> Subject:
    """Have a run, or one shard of it, stop at its next checkpoint until somebody says `resume`.

    `hard`: its process leaves, too. Answers how it stands after at most `wait` seconds: PAUSING until whoever works on
    it has let go, PAUSED then.

    Like the other verbs raises Refused where its state forbids it, Misconfigured when it is not there.
    """
    asked = storage.control.pause(run_id, shard_id, reason, hard)
    return _awaited(storage, asked, (PAUSING,), wait)


def resume(
    storage: Storage, run_id: str, shard_id: str | None = None, awaited: bool = False, wait: float = 0.0
) -> Subject:
    """Have it go on from its checkpoint. `awaited`: where no process works on the run, the service is to.

    Raises Refused while whoever was to pause has not let go, for longer than `wait` seconds.
    """
    give_up = time.monotonic() + wait
    asked = _patiently(lambda: storage.control.resume(run_id, shard_id, awaited), give_up)
    return _awaited(storage, asked, (RESUMING,), give_up - time.monotonic())


def cancel(
    storage: Storage, run_id: str, shard_id: str | None = None, reason: str | None = None, wait: float = 0.0
) -> Subject:
    """Give it up for good; what was read stays."""
    asked = storage.control.cancel(run_id, shard_id, reason)
    return _awaited(storage, asked, (CANCELLING,), wait)


def _patiently(ask: Callable[[], Subject], give_up: float) -> Subject:
    while True:
        try:
            return ask()
        except Refused as error:
            if error.code != NOT_YET or time.monotonic() >= give_up:
                raise
        time.sleep(LOOK_EVERY)


def _awaited(storage: Storage, asked: Subject, meanwhile: Sequence[str], wait: float) -> Subject:
    give_up = time.monotonic() + wait
    while asked.state in meanwhile and time.monotonic() < give_up:
        time.sleep(LOOK_EVERY)
        asked = storage.control.look(asked.run_id, asked.shard_id)
    return asked
