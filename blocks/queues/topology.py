"""Which queues there are at RabbitMQ: the main one, one for each rung of delays, and the dead letters.

Everything is a quorum queue: only there a confirmed message was written to disk. All arguments are explicit, since
their defaults differ from version to version.
"""

from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractChannel

GIB = 1024**3
QUORUM = {"x-queue-type": "quorum"}
# Killing a consumer counts as a delivery of all it held: the limit is high, since real failures climb the delays.
MOST_DELIVERIES = 50


@dataclass(frozen=True, slots=True)
class Topology:
    """`delays` are the seconds of the ladder a batch climbs that could not be applied."""

    name: str = "collect"
    delays: tuple[float, ...] = (1, 10, 60)
    most_bytes: int = GIB

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    def delayed(self, attempt: int) -> str:
        """Where a message waits that was delayed `attempt` times before; the dead letters after the last rung."""
        return self._rung(self.delays[attempt]) if attempt < len(self.delays) else self.dead

    @property
    def parked(self) -> str:
        """Where a message waits, as often as it takes, until somebody can read it."""
        return self._rung(self.delays[-1])

    async def declare(self, channel: AbstractChannel) -> int:
        """Make what is not there yet; answers how many messages wait in the main queue and the delays."""
        await channel.declare_queue(self.dead, durable=True, arguments=QUORUM)
        waiting = 0
        for name, arguments in self._queues().items():
            queue = await channel.declare_queue(name, durable=True, arguments=arguments)
            waiting += queue.declaration_result.message_count or 0
        return waiting

    def _queues(self) -> dict[str, dict[str, Any]]:
        limits = {"x-delivery-limit": MOST_DELIVERIES, "x-max-length-bytes": self.most_bytes}
        rungs = {self._rung(delay): {"x-message-ttl": round(delay * 1000)} for delay in self.delays}
        main = {self.name: self._leading_to(self.dead) | limits}
        return main | {name: self._leading_to(self.name) | ttl for name, ttl in rungs.items()}

    def _leading_to(self, target: str) -> dict[str, Any]:
        """What leaves the queue by itself gets to `target`, and is kept until it is there."""
        return QUORUM | {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": target,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    def _rung(self, delay: float) -> str:
        return f"{self.name}.delay.{round(delay * 1000)}"
