"""`serve`: the service over HTTP and all it needs on this machine, in the foreground."""

import asyncio
import os
import signal
import socket
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.children import kept_alive
from blocks.settings import Serving, Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from collectors.language import spoken
from deployments import prefect_server
from deployments.cli.output import say, show, show_warnings

PORT = 8780
BACKLOG = 1024


def serve(
    *,
    host: Annotated[str, Parameter(show_default=True)] = "127.0.0.1",
    port: Annotated[int, Parameter(show_default=True, validator=Number(gte=0, lte=65_535))] = PORT,
    workers: Annotated[int, Parameter(show_default=True, validator=Number(gte=1, lte=64))] = 1,
    runs: Annotated[int, Parameter(show_default=True, validator=Number(gte=1, lte=64))] = 4,
    work_pool: str | None = None,
) -> int:
    """Serve import, tree, detail, search and runs over HTTP, and carry out the runs that are asked for, until Ctrl-C.

    It starts a Prefect server when none is configured or running, and ends what it started.

    Examples
        $ collect serve
        $ collect serve --port 9000 --workers 2
        $ collect serve --work-pool local

    Parameters
    ----------
    host
        the address it listens on; others than this machine's should stand behind a proxy that speaks TLS
    port
        where it listens; 0 takes any free one
    workers
        processes that answer
    runs
        the most runs that are carried out side by side here
    work_pool
        let the workers of this Prefect work pool carry runs out, by the deployment collect/WORK_POOL, and only control
    """
    settings = Settings.load()
    if work_pool:
        os.environ["COLLECT_WORK_POOL"] = work_pool
    # What can never work is said before anything is started.
    Serving.load()
    with open_storage(settings):
        pass
    show_warnings()
    with _listening(host, port) as listener:
        before = prefect_server.process(settings)
        try:
            return asyncio.run(_side_by_side(listener, workers, runs))
        finally:
            if prefect_server.process(settings) != before:
                prefect_server.down(settings)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(
            "{host}:{port} cannot be listened on ({why})",
            "Name another one: collect serve --port 0 takes any free one.",
            code="COL-0708",
            host=host,
            port=port,
            why=error.strerror or error,
        ) from None


async def _side_by_side(listener: socket.socket, workers: int, runs: int) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    host, port = listener.getsockname()[:2]
    said: list[None] = []

    def ready() -> None:
        said.append(None)
        if len(said) == workers:
            show(spoken("serving on http://{host}:{port}", host=f"[{host}]" if ":" in host else host, port=port))
            say("make a key with: {command}; end it with Ctrl-C", command="collect keys create --role operator")

    answering = (
        kept_alive(stop, "deployments.api", str(listener.fileno()), inherited=[listener.fileno()], on_ready=ready)
        for _ in range(workers)
    )
    return max(await asyncio.gather(kept_alive(stop, "deployments.carrying", str(runs)), *answering))
