"""Loading: batches from the queue into the stores, in a process of its own: `python -m blocks.loader`.

It says `ready` on stdout when batches begin to come. SIGTERM and SIGINT end it when it has finished what it has in
hand; so does the end of its stdin with `--while-fed`, which comes however its parent ends.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

from anyio import to_thread

from blocks.children import MISCONFIGURED, when_stdin_ends
from blocks.settings import Settings, language
from blocks.stores import Storage, open_storage
from collectors.consuming import Consumer
from collectors.errors import CollectError, Misconfigured, named
from collectors.interfaces import Deliveries
from collectors.language import LANGUAGE
from collectors.loading import Loader
from collectors.pacing import pauses

WHILE_FED = "--while-fed"
IDLE_SECONDS = 1.0
log = logging.getLogger(__name__)


def deliveries_of(storage: Storage) -> Deliveries:
    """Raises Misconfigured when there is nothing to load."""
    if storage.deliveries is None:
        raise Misconfigured(
            "nothing is left to load: without RabbitMQ a batch is in the stores as soon as it was read",
            "A loader is for the full stack: collect storage set",
            code="COL-0684",
        )
    return storage.deliveries


async def load(storage: Storage, stop: asyncio.Event, on_taking: Callable[[], None]) -> None:
    """Apply what is published until `stop` is set; `on_taking` is called whenever batches begin to come."""
    loader = Loader(storage.rows, storage.documents, storage.cache)
    consumer = Consumer(deliveries_of(storage), loader, stop)
    entering = asyncio.create_task(_enter_words(storage, consumer))
    try:
        await consumer.run(on_taking)
    finally:
        entering.cancel()
        await asyncio.wait({entering})


async def _enter_words(storage: Storage, consumer: Consumer) -> None:
    """Documents are made searchable while no batches come: that costs more than all the rest of loading them."""
    waits = pauses(IDLE_SECONDS)
    while True:
        await asyncio.sleep(next(waits))
        try:
            while consumer.idle_seconds > IDLE_SECONDS and await to_thread.run_sync(storage.documents.make_searchable):
                pass
            waits = pauses(IDLE_SECONDS)
        except Exception as error:  # noqa: BLE001 - what is loaded is found without them, only slower
            log.warning("words for search are entered later: %s", named(error).what)


async def _load_until_told(while_fed: bool) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    if while_fed:
        when_stdin_ends(stop.set)
    with open_storage(Settings.load()) as storage:
        await load(storage, stop, lambda: print("ready", flush=True))


def main() -> int:
    LANGUAGE.set(language())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_load_until_told(WHILE_FED in sys.argv[1:]))
    except CollectError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED if isinstance(error, Misconfigured) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
