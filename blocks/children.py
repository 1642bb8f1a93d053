"""Child processes kept alive for as long as somebody wants them; they end with their parent, however that ends."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from collectors.keeping import until_stopped

MISCONFIGURED = 2  # the exit code of one that cannot work as things are set up
SECONDS_BETWEEN = 1.0
SECONDS_TO_FINISH = 30.0
log = logging.getLogger(__name__)


async def kept_alive(
    stop: asyncio.Event,
    module: str,
    *arguments: str,
    stdout: int | None = None,
    inherited: Sequence[int] = (),
    on_ready: Callable[[], None] | None = None,
) -> int:
    """One process of a Python module after another, until a stop is asked for or one cannot work as things are set up.

    Each is told by the end of its stdin to end. `inherited`: file descriptors it is given; `on_ready` is called when
    one says its first line. Answers the exit code of the last one, 0 after a stop.
    """
    while not stop.is_set():
        # Ctrl-C is for this process to hear, hence a session of its own.
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if on_ready else stdout,
            pass_fds=inherited,
            start_new_session=True,
        )
        if on_ready and await until_stopped(stop, child.stdout.readline()):
            on_ready()
        code = await until_stopped(stop, child.wait())
        if code is None:
            await _ended(child, module)
        elif code == MISCONFIGURED:
            stop.set()
            return code
        else:
            log.warning("%s ended with %s; another one takes its place", module, code)
            await until_stopped(stop, asyncio.sleep(SECONDS_BETWEEN))
    return 0


async def _ended(child: asyncio.subprocess.Process, module: str) -> None:
    """It finishes what it has in hand; one that is frozen is killed."""
    child.stdin.close()
    try:
        async with asyncio.timeout(SECONDS_TO_FINISH):
            await child.wait()
    except TimeoutError:
        log.warning("%s did not end within %g s, and is killed", module, SECONDS_TO_FINISH)
        child.kill()
        await child.wait()


def when_stdin_ends(call: Callable[[], None]) -> None:
    """In a child: what its parent says by closing that, or by ending."""
    loop = asyncio.get_running_loop()

    def hear() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin)
            call()

    loop.add_reader(sys.stdin, hear)
