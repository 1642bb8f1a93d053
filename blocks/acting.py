"""Who acts, as the audit has it: a person of this machine, a key of the service, Prefect, or the platform itself."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PREFECT, SERVICE = "prefect", "service"


def _person() -> str:
    """By the operating system, which cannot be told another name as the environment can."""
    uid = os.getuid()
    try:
        return f"user:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container may run as somebody who has no name
        return f"user:{uid}"


PERSON = _person()
ACTING: ContextVar[str] = ContextVar("acting", default=PERSON)


@contextmanager
def acting(who: str) -> Iterator[None]:
    token = ACTING.set(who)
    try:
        yield
    finally:
        ACTING.reset(token)
