"""A connection to RabbitMQ that can be cut at any time, however little RabbitMQ answers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aio_pika import Connection
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from blocks.queues.broker import Broker
from blocks.queues.refusals import LOST, in_our_words, unreachable

SECONDS_TO_PART = 2.0

# It logs each end of a connection with a traceback: what it means for a batch is said here, once.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Wire:
    """The socket of a connection, at hand: closing waits until all is sent, and a frozen server takes nothing."""

    _writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: Any, ssl_context_provider: Any, **_: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls: dict[str, Any] = {}
        if url.scheme == "amqps":
            tls = {"ssl": await ssl_context_provider.get_context(), "ssl_shutdown_timeout": SECONDS_TO_PART}
        reader, self._writer = await asyncio.open_connection(url.host, url.port, **tls)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer:
            self._writer.transport.abort()


class Line:
    """One channel on a connection of its own; what is published on it is confirmed."""

    def __init__(self, broker: Broker) -> None:
        self._topology, self._wire = broker.topology, Wire()
        self._connection = Connection(broker.beating)
        self._connection.kwargs["transport_factory"] = self._wire
        self.channel: AbstractChannel

    async def open(self) -> "Line":
        async with AsyncExitStack() as halfway:
            halfway.push_async_callback(self.cut)
            await self._connection.connect()
            self.channel = await self._connection.channel(on_return_raises=True)
            await self._topology.declare(self.channel)
            halfway.pop_all()
        return self

    async def is_blocked(self) -> bool:
        """Whether RabbitMQ has said that it takes no more for now."""
        if self._connection.transport is None:
            return False
        try:
            async with asyncio.timeout(0):
                await self._connection.transport.ready()
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        closing = asyncio.ensure_future(self._connection.close())
        await asyncio.wait({closing}, timeout=SECONDS_TO_PART)
        self._wire.cut()
        await asyncio.gather(closing, return_exceptions=True)

    async def cut(self) -> None:
        self._wire.cut()
        await asyncio.gather(self._connection.close(), return_exceptions=True)


@asynccontextmanager
async def answered(broker: Broker) -> AsyncIterator[None]:
    """What fails in the block is raised as Misconfigured or Unreachable, and so is what gets no answer in time."""
    try:
        async with asyncio.timeout(broker.patience.answer):
            yield
    except CONNECTION_EXCEPTIONS as error:  # a TimeoutError is among them
        raise in_our_words(error, broker) from error
    except asyncio.CancelledError as error:
        if asyncio.current_task().cancelling():
            raise
        # The client cancels what waits on a connection that it gives up.
        raise unreachable(broker, LOST) from error
