"""Processes that hang: they are there, and do nothing."""

import os
import signal
import time
from pathlib import Path

PATIENCE = 30.0


def freeze(pid: int) -> None:
    """Stops a group of processes; a busy machine lets their threads run on for a moment after the signal."""
    os.killpg(pid, signal.SIGSTOP)
    until = time.monotonic() + PATIENCE
    while any(_state(thread) != "T" for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < until, "it does not stop"


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]
