"""What the stores need of a database, and which of their methods may simply be made again."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from collectors.errors import Transient, Unreachable

MOST_CONTENTIONS = 10
LONGEST_OUTAGE = 60.0  # of what works on a run; who only looks is told at once
LONGEST_PAUSE = 2.0
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Database(Protocol):
    outage: float  # for so many seconds a server that went away is waited for

    def write(self, durable: bool = True) -> AbstractContextManager[Connection]:
        """A transaction, committed at the end; when not `durable` it may be so together with the next one that is."""

    def read(self) -> AbstractContextManager[Connection]: ...

    def close(self) -> None: ...


class Contended(Transient):
    """Two transactions were in each other's way, and this one was undone: it has to be made again."""

    code = "COL-0620"


def contending(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """For a method that is one transaction: made again, after a moment, when it was undone for another one's sake."""

    @wraps(method)
    def again(*arguments: Given.args, **named: Given.kwargs) -> Result:
        for attempt in range(1, MOST_CONTENTIONS):
            try:
                return method(*arguments, **named)
            except Contended:
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        return method(*arguments, **named)

    return again


def repeatable(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """For a transaction that does no harm when it is made twice: also made again, as long as an outage
    may last, when the server went away, since nobody can tell then whether it was committed."""
    once = contending(method)

    @wraps(method)
    def again(*arguments: Given.args, **named: Given.kwargs) -> Result:
        give_up, pause = time.monotonic() + arguments[0]._database.outage, 0.1
        while True:
            try:
                return once(*arguments, **named)
            except Unreachable:
                if time.monotonic() + pause > give_up:
                    raise
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, LONGEST_PAUSE)

    return again
