"""The command `collect` with one method wrapped, to fail exactly there; the product itself knows nothing of it.

    python crashing.py MODULE:CLASS.METHOD before|after N ACTION -- ARGUMENTS OF COLLECT

ACTION, done before or after the N-th call: kill (SIGKILL to itself), interrupt (SIGINT to itself, like Ctrl-C),
terminate (SIGTERM to itself), freeze (SIGSTOP to itself), or hold:PORT (connect to PORT, and go on once that connection
is closed). Leases are short, so that what takes over from a dead process need not wait for long.
"""

import asyncio
import inspect
import os
import signal
import socket
import sys
from importlib import import_module
from itertools import count

SIGNALS = {
    "kill": signal.SIGKILL,
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
    "freeze": signal.SIGSTOP,
}
LEASE_SECONDS = 2.0


def act(action: str) -> None:
    if action in SIGNALS:
        os.kill(os.getpid(), SIGNALS[action])
        return
    with socket.create_connection(("127.0.0.1", _port(action))) as connection:
        connection.recv(1)


async def act_in_loop(action: str) -> None:
    """The same without keeping the event loop from its other work."""
    if action in SIGNALS:
        act(action)
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", _port(action))
    try:
        await reader.read(1)
    finally:
        writer.close()


def _port(action: str) -> int:
    return int(action.removeprefix("hold:"))


def wrapped(method, when: str, nth: int, action: str):
    calls = count(1)

    def around(*arguments, **named):
        struck = next(calls) == nth
        if struck and when == "before":
            act(action)
        result = method(*arguments, **named)
        if struck and when == "after":
            act(action)
        return result

    async def around_in_loop(*arguments, **named):
        struck = next(calls) == nth
        if struck and when == "before":
            await act_in_loop(action)
        result = await method(*arguments, **named)
        if struck and when == "after":
            await act_in_loop(action)
        return result

    return around_in_loop if inspect.iscoroutinefunction(method) else around


def strike(target: str, when: str, nth: int, action: str) -> None:
    module, _, path = target.partition(":")
    name, _, method = path.partition(".")
    owner = getattr(import_module(module), name)
    setattr(owner, method, wrapped(getattr(owner, method), when, nth, action))


def shorten_leases() -> None:
    from blocks.sql.catalog import Catalog
    from blocks.sql.shards import Shards

    for each in (Catalog, Shards):
        each.__init__.__defaults__ = (LEASE_SECONDS,)


def main() -> None:
    target, when, nth, action, _, *arguments = sys.argv[1:]
    strike(target, when, int(nth), action)
    shorten_leases()
    sys.argv = ["collect", *arguments]
    from deployments.cli import main as command

    command()


if __name__ == "__main__":
    main()
