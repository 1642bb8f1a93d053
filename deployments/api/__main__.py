"""One process that answers: `python -m deployments.api FD`, on a socket that listens already.

It says `ready` on stdout when it is about to answer, and ends when its stdin does, however its parent ends.
"""

import asyncio
import gc
import sys

import uvicorn

from blocks.acting import ACTING, SERVICE
from blocks.children import MISCONFIGURED, when_stdin_ends
from blocks.settings import Serving, Settings, language
from collectors.errors import Misconfigured
from collectors.language import LANGUAGE
from deployments.api.application import application

SECONDS_TO_FINISH = 10


async def _serve(listener: int) -> None:
    app = application(Settings.load(), Serving.load(), lambda: print("ready", flush=True))
    config = uvicorn.Config(
        app,
        fd=listener,
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        server_header=False,
    )
    server = uvicorn.Server(config)
    gc.collect()
    gc.freeze()  # what is there for good need not be looked through again and again while somebody waits

    def end() -> None:
        server.should_exit = True

    when_stdin_ends(end)
    await server.serve()


def main() -> int:
    LANGUAGE.set(language())
    ACTING.set(SERVICE)
    try:
        asyncio.run(_serve(int(sys.argv[1])))
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    return 0


if __name__ == "__main__":
    sys.exit(main())
