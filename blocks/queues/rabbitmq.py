"""The near end of RabbitMQ: what is published is confirmed."""

from collections.abc import Mapping

from blocks.queues.broker import Broker
from blocks.queues.messages import Seal
from blocks.queues.publishing import Publisher
from collectors.models import Batch


class RabbitQueue:
    """`keys` are secrets by their ids, the first one signs. To be closed in the event loop it was used in."""

    def __init__(self, broker: Broker, keys: Mapping[str, bytes]) -> None:
        self._main, self._seal, self._publisher = broker.topology.name, Seal(keys), Publisher(broker)

    async def publish(self, batch: Batch) -> None:
        await self._publisher.publish(self._seal.closed(batch), self._main)

    async def waiting(self) -> int:
        return await self._publisher.waiting()

    async def close(self) -> None:
        await self._publisher.close()
