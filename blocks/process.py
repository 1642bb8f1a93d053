"""Who owns a lease: a process, named so that others on the same machine can tell when it is gone."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    return identity(os.getpid())


def identity(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_born(pid)}"


def is_gone(owner: str | None) -> bool:
    """True only if `owner` ran on this machine and certainly does not run any more."""
    host, _, rest = (owner or "").partition(":")
    pid, _, born = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _born(int(pid)) != born


def is_here(process: str) -> bool:
    """True only if `process` certainly runs, on this machine."""
    host, _, rest = process.partition(":")
    pid, _, born = rest.partition(":")
    return host == socket.gethostname() and pid.isdigit() and _born(int(pid)) == born


def _born(pid: int) -> str:
    """The start time of a process, so that a reused number is not taken for it; a zombie was never born."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "?"
    fields = stat.rpartition(")")[2].split()
    return "dead" if fields[0] == "Z" else fields[19]
