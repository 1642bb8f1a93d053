"""What processes and the machine used, as Linux counts it. Seconds of CPU, and MB."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stint:
    """A piece of work of this process, children that ended included."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), self._used()

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def process(self) -> dict[str, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return {"cpu": self._used() - self._cpu, "peak": max(peak("self"), children)}

    @staticmethod
    def _used() -> float:
        return sum(os.times()[:4])


class Machine(NamedTuple):
    """Seconds since it started, of all cores together. What was stolen, other machines on the same hardware had."""

    busy: float
    idle: float
    stolen: float

    @classmethod
    def now(cls) -> "Machine":
        line = (PROC / "stat").read_text().partition("\n")[0]
        user, nice, system, idle, waiting, hard, soft, stolen = (int(word) * TICK for word in line.split()[1:9])
        return cls(user + nice + system + hard + soft, idle + waiting, stolen)

    def since(self, before: "Machine") -> "Machine":
        return Machine(*(now - then for now, then in zip(self, before, strict=True)))


def settle(patience: float = 5.0) -> None:
    """Let the servers finish what the run before left them to do, so that it does not count for the next."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = Machine.now()
        time.sleep(0.5)
        if Machine.now().since(before).busy < 0.1:
            return


def cpu(pid: int) -> float:
    """Of a process and all below it."""
    return sum(_cpu(each) for each in _tree(pid))


def peak(pid: int | str) -> float:
    """The most memory that a process alone ever had, or since `forget_peaks`."""
    status = (PROC / str(pid) / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def highest_peak(pid: int) -> float:
    """Of the processes at and below `pid` the one with most memory."""
    return max(peak(each) for each in _tree(pid))


def forget_peaks(pid: int) -> None:
    for each in _tree(pid):
        with suppress(PermissionError):  # nginx and mariadbd may belong to another user
            (PROC / str(each) / "clear_refs").write_text("5")


def _cpu(pid: int) -> float:
    return sum(int(field) for field in _stat(pid)[11:15]) * TICK


def _tree(pid: int) -> Iterator[int]:
    parents: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents.setdefault(int(_stat(folder.name)[1]), []).append(int(folder.name))
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        waiting.extend(parents.get(each, ()))
        yield each


def _stat(pid: int | str) -> list[Any]:
    """The fields after the name, which may hold blanks and brackets."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
