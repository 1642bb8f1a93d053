"""The far end of RabbitMQ: batches as they come, acknowledged when they are in every store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from blocks.queues.broker import Broker
from blocks.queues.connecting import Line, answered
from blocks.queues.messages import Message, Seal
from blocks.queues.publishing import Publisher
from blocks.queues.refusals import LOST, unreachable
from collectors.errors import Rejected, Transient
from collectors.interfaces import Delivery
from collectors.models import Batch

PREFETCH = 8  # what a loader that is killed had taken counts as delivered once: few at a time
LONGEST_REASON = 500
Arrivals = asyncio.Queue[AbstractIncomingMessage | None]
log = logging.getLogger(__name__)


class RabbitDeliveries:
    """`keys` are all that are known: those that sign now, and those that did."""

    def __init__(self, broker: Broker, keys: Mapping[str, bytes]) -> None:
        self._broker, self._seal = broker, Seal(keys)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        """The batches end with Unreachable when the connection is lost; those not acknowledged come again then."""
        async with answered(self._broker):
            line = await Line(self._broker).open()
        # RabbitMQ blocks who publishes when it is short of memory: who empties it does it on a connection of its own.
        publisher = Publisher(self._broker)
        try:
            async with answered(self._broker):
                arrivals = await _arrivals(line.channel, self._broker.topology.name)
            yield self._deliveries(arrivals, _Answers(self._broker, publisher))
        finally:
            await publisher.close()
            await line.close()

    async def _deliveries(self, arrivals: Arrivals, answers: "_Answers") -> AsyncIterator[Delivery]:
        while message := await arrivals.get():
            try:
                batch = self._seal.opened(Message(message.message_id, message.headers, message.body))
            except Rejected as error:
                log.warning("message %r goes to the dead letters: %s", message.message_id, error.what)
                await answers.refuse(message)
            except Transient as error:
                log.warning("message %r waits for a newer loader: %s", message.message_id, error.what)
                await answers.move(message, self._broker.topology.parked)
            else:
                yield RabbitDelivery(batch, _attempt(message), message, answers)
        raise unreachable(self._broker, LOST)


@dataclass(frozen=True, slots=True)
class RabbitDelivery:
    batch: Batch
    attempt: int
    _message: AbstractIncomingMessage
    _answers: "_Answers"

    async def done(self) -> None:
        await self._answers.acknowledge(self._message)

    async def later(self, reason: str) -> None:
        await self._answers.delay(self._message, self.attempt, reason)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What can be said to a message that was taken. It comes again until one of these was said."""

    broker: Broker
    publisher: Publisher

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        async with answered(self.broker):
            await message.ack()

    async def refuse(self, message: AbstractIncomingMessage) -> None:
        async with answered(self.broker):
            await message.reject(requeue=False)

    async def delay(self, message: AbstractIncomingMessage, attempt: int, reason: str) -> None:
        queue = self.broker.topology.delayed(attempt)
        await self.move(message, queue, attempt=attempt + 1, reason=reason[:LONGEST_REASON])

    async def move(self, message: AbstractIncomingMessage, queue: str, **beside: Any) -> None:
        """Confirmed first and acknowledged then: it may be there twice, and is never lost."""
        # The broker's own headers stay behind: who was in the dead letters once would be dropped, as going in circles.
        headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
        await self.publisher.publish(Message(message.message_id, headers | beside, message.body), queue)
        await self.acknowledge(message)


async def _arrivals(channel: AbstractChannel, queue: str) -> Arrivals:
    """What comes, at most PREFETCH at a time; None when nothing can come any more."""
    arrivals: Arrivals = asyncio.Queue()

    def end(*_: Any) -> None:
        while not arrivals.empty():  # these come again, to somebody who can acknowledge them
            arrivals.get_nowait()
        arrivals.put_nowait(None)

    channel.close_callbacks.add(end)
    (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(end)  # the queue was deleted
    await channel.set_qos(prefetch_count=PREFETCH)
    await (await channel.get_queue(queue, ensure=False)).consume(arrivals.put)
    return arrivals


def _attempt(message: AbstractIncomingMessage) -> int:
    """No part of what is signed, so anything may stand there."""
    found = message.headers.get("attempt")
    return max(found, 0) if isinstance(found, int) else 0
