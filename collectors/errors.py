"""The errors of the platform, cut by what the caller can do.

CollectError
|-- Unexpected      a defect: an exception nobody foresaw
|-- Transient       try again later: the source is slow, busy or away
|   `-- Throttled   the source asked for patience, and said how long
|-- Rejected        this one record is refused and quarantined, its neighbours go on
|-- Misconfigured   stop: a definition, a credential or an address has to be changed first
|   `-- NotAllowed  the source does not let this user see it
|-- Unreachable     stop: a server the platform itself needs does not answer
|-- Unusable        stop: a store cannot take or give what is kept: no space, a held lock, damage
|-- Refused         the state of a run or shard forbids what was asked
`-- Fenced          somebody else owns this work now: leave, and write nothing

Each carries a code that stays the same for ever; `docs/errors.md` has a page for each. The hundreds say the field:
01 unnamed, 02 definitions and usage, 03 the source, 04 states, 05 records, 06 stores, 07 servers, 08 the service.
"""

import re
import traceback
from pathlib import Path
from typing import Any

from collectors.language import spoken

LONGEST_REASON = 300
NOT_LET_IN = frozenset({"COL-0315", "COL-0322", "COL-0323"})  # by which a shard says so that has failed
CODED = re.compile(r"([A-Z]+-\d+): ([^\n]*)\n?(.*)", re.DOTALL)


class CollectError(Exception):
    """Something the platform can name: `what` happened, and what to do about it (`remedy`), in the user's language."""

    code = "COL-0100"

    def __init__(self, what: str, remedy: str = "", /, *, code: str = "", **facts: Any) -> None:
        """`what` and `remedy` are English texts with {places} for the facts."""
        super().__init__(what, remedy)
        self._what, self._remedy, self.facts = what, remedy, facts
        self.code = code or self.code

    @property
    def what(self) -> str:
        return spoken(self._what, **self.facts)

    @property
    def remedy(self) -> str:
        return spoken(self._remedy, **self.facts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """What is kept: "COL-0311: what", and what to do about it on a line of its own; `parted` takes it apart."""
        said = (f"{self.code}: {self.what}", self.remedy)
        return "\n".join(" ".join(part.splitlines()) for part in said if part)


def parted(text: str) -> tuple[str, str, str]:
    """(code, what, remedy) of an error's text; for any other text no code, the text, and no remedy."""
    found = CODED.fullmatch(text)
    return found.groups() if found else ("", text, "")


def in_a_line(text: str | None) -> str | None:
    """An error's text as people read it."""
    said, _, remedy = (text or "").partition("\n")
    return spoken("{said}. {remedy}", said=said, remedy=remedy) if remedy else text


class Unexpected(CollectError):
    """A defect of the platform, or of a plug-in: an exception nobody foresaw."""

    code = "COL-0101"


def named(error: BaseException) -> CollectError:
    """`error` itself, or an Unexpected that says what it was and where it was raised."""
    if isinstance(error, CollectError):
        return error
    return Unexpected(
        "something unexpected happened: {error} ({place})",
        "It is a defect of the platform or of a plug-in: please report it.",
        code=Unexpected.code,
        error=f"{error!r:.{LONGEST_REASON}}",
        place=_place(error),
    )


def _place(error: BaseException) -> str:
    raised = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{Path(raised[0].filename).name}:{raised[0].lineno}" if raised else "-"


class Transient(CollectError):
    """A failure that may pass by itself; the request's owner retries it."""

    code = "COL-0300"


class Throttled(Transient):
    """The source asked to wait `delay` seconds before the next request."""

    code = "COL-0301"

    def __init__(self, what: str, delay: float, remedy: str = "", /, **facts: Any) -> None:
        super().__init__(what, remedy, **facts)
        self.delay = delay


class Rejected(CollectError):
    """One record cannot be stored as it is. `reason` is a short stable word to group by."""

    code = "COL-0500"

    def __init__(self, reason: str, what: str, record_id: str | None = None, /, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.reason, self.record_id = reason, record_id


class Misconfigured(CollectError):
    """What was asked can never work until somebody changes it."""

    code = "COL-0200"


class NotAllowed(Misconfigured):
    """The source does not let us in, or does not let this user see what was asked for."""

    code = "COL-0315"


class Unreachable(CollectError):
    """A server the platform needs (Prefect, a store) does not answer."""

    code = "COL-0700"


class Unusable(CollectError):
    """A store cannot be used as things are; nothing half-done stands in it, and the run can go on later."""

    code = "COL-0600"


class Refused(CollectError):
    """The present state of a run or shard forbids the verb."""

    code = "COL-0400"


class Fenced(CollectError):
    """The lease was lost: another worker has the work now. This write changed nothing."""

    code = "COL-0401"
