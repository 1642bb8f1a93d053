"""Processes beside each other: named so that others on the same machine can tell when one is gone; one at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def this_process() -> str:
    return identity(os.getpid())


def identity(pid: int) -> str:
    return f"{_place()}:{pid}:{_born(pid)}"


def is_gone(owner: str | None) -> bool:
    """True only if `owner` ran on this machine and certainly does not run any more."""
    place, pid, born = _parted(owner or "")
    return place == _place() and pid.isdigit() and not _runs(int(pid), born)


def is_here(process: str) -> bool:
    """True only if `process` certainly runs, on this machine."""
    place, pid, born = _parted(process)
    return place == _place() and pid.isdigit() and _runs(int(pid), born)


def pid_of(process: str) -> int:
    """The number in what `identity` has made of it."""
    return int(_parted(process)[1])


@contextmanager
def locked(path: Path, flags: int = 0) -> Iterator[None]:
    """Keep other processes from locking this file or folder. With LOCK_NB raises BlockingIOError instead of waiting."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(handle)


def _parted(process: str) -> tuple[str, str, str]:
    place, _, rest = process.partition(":")
    pid, _, born = rest.partition(":")
    return place, pid, born


def _runs(pid: int, born: str) -> bool:
    return _exists(pid) and _born(pid) == born


def _place() -> str:
    """The machine and, where there is one, the namespace: containers of one host name count their processes apart."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _born(pid: int) -> str:
    """The start time of a process, so that a reused number is not taken for it; a zombie was never born."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "?"
    fields = stat.rpartition(")")[2].split()
    return "dead" if fields[0] == "Z" else fields[19]
