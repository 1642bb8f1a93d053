"""Where RabbitMQ is, which queues are kept there, and how long it is waited for."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from blocks.queues.topology import Topology

HEARTBEAT = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for one answer, and for a confirmation altogether."""

    answer: float = 10.0
    altogether: float = 60.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Written as its address without user and password; `url` alone holds them, and options such as ?cafile=FILE."""

    url: str = field(repr=False)
    topology: Topology = field(default_factory=Topology)
    patience: Patience = field(default_factory=Patience)

    def __str__(self) -> str:
        # By the last @: in a password that was typed as it is there may be more of them, and slashes too.
        return self.url.rpartition("@")[2].partition("?")[0].rpartition("://")[2]

    @property
    def user(self) -> str:
        return urlsplit(self.url).username or "guest"

    @property
    def beating(self) -> str:
        """The URL with heartbeats, so that a server that went away in silence is missed within half a minute."""
        parts = urlsplit(self.url)
        if "heartbeat" in parse_qs(parts.query):
            return self.url
        return parts._replace(query=f"{parts.query}&heartbeat={HEARTBEAT}".lstrip("&")).geturl()
