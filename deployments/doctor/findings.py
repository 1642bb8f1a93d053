"""What a check found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `fix` is what to type; `repair` does it, where it can be done without losing data."""

    state: State
    check: str
    what: str
    fix: str = ""
    repair: Callable[[], object] | None = None
