"""Publishing until RabbitMQ has confirmed it: a message counts as safe then, and never before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel

from blocks.queues.broker import Broker
from blocks.queues.connecting import Line, answered
from blocks.queues.messages import Message
from blocks.queues.refusals import NO_ANSWER, blocked, unreachable
from collectors.errors import CollectError, Unreachable
from collectors.pacing import pauses

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class Publisher:
    """Connects when it is first asked, and anew whenever something failed; for one event loop until it is closed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._opening = asyncio.Lock()
        self._line: Line | None = None

    async def publish(self, message: Message, queue: str) -> None:
        """Returns when it is confirmed; it may be there twice then. Raises Unreachable, Misconfigured."""
        failed: Unreachable | None = None
        try:
            async with asyncio.timeout(self._broker.patience.altogether):
                for pause in pauses():
                    try:
                        return await self._confirmed(message, queue)
                    except Unreachable as error:
                        log.log(logging.DEBUG if failed else logging.WARNING, "%s; trying again", error.what)
                        failed = error
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise failed or unreachable(self._broker, NO_ANSWER) from None

    async def waiting(self) -> int:
        return await self._asked(self._broker.topology.declare)

    async def close(self) -> None:
        line, self._line = self._line, None
        if line:
            await line.close()

    async def _confirmed(self, message: Message, queue: str) -> None:
        # Mandatory: what no queue takes would be confirmed, too.
        carried = aio_pika.Message(
            message.body,
            headers=dict(message.headers),
            message_id=message.id,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._asked(lambda channel: channel.default_exchange.publish(carried, queue, mandatory=True))

    async def _asked(self, ask: Callable[[AbstractChannel], Awaitable[Answer]]) -> Answer:
        line = await self._open_line()
        try:
            async with answered(self._broker):
                return await ask(line.channel)
        except CollectError as error:
            is_blocked = await line.is_blocked()
            await self._cut(line)
            raise blocked(self._broker) if is_blocked else error from None

    async def _open_line(self) -> Line:
        async with self._opening:
            if self._line and self._line.channel.is_closed:  # the server went away while nobody asked it anything
                await self._cut(self._line)
            if self._line is None:
                async with answered(self._broker):
                    self._line = await Line(self._broker).open()
            return self._line

    async def _cut(self, line: Line) -> None:
        """Whoever else waits on it publishes again, as this one does: on a line whose state is known."""
        if self._line is line:
            self._line = None
        await line.cut()
