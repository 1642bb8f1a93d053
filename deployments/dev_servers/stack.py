"""The servers of a folder, started and ended side by side."""

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from deployments.dev_servers.kinds import KINDS, STORES
from deployments.dev_servers.starting import DevServer, require


def of_home(home: Path) -> list[DevServer]:
    """The servers that belong to a folder; PostgreSQL only where it is installed."""
    kinds = [kind for kind in KINDS if kind in STORES or kind.program()]
    return [DevServer(kind, home / "dev-servers" / kind.role) for kind in kinds]


def all_up(servers: Sequence[DevServer]) -> dict[str, str]:
    """Addresses by role. When one does not start, or we are interrupted, those that were started are ended again."""
    require(each.kind for each in servers)
    with ExitStack() as half_done:
        half_done.callback(all_down, [each for each in servers if not each.pid])
        with ThreadPoolExecutor(len(servers)) as pool:
            starting = {each.kind.role: pool.submit(each.up) for each in servers}
        addresses = {role: found.result() for role, found in starting.items()}
        half_done.pop_all()
    return addresses


def all_down(servers: Sequence[DevServer], how: signal.Signals = signal.SIGTERM) -> None:
    if servers:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda each: each.down(how), servers))
