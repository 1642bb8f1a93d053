"""The errors of the platform, cut by what the caller can do.

CollectError
|-- Transient       try again later: the source is slow, busy or away
|   `-- Throttled   the source asked for patience, and said how long
|-- Rejected        this one record is refused and quarantined, its neighbours go on
|-- Misconfigured   stop: a definition, a credential or an address has to be changed first
|-- Unreachable     stop: a server the platform itself needs does not answer
|-- Refused         the state of a run or shard forbids what was asked
`-- Fenced          somebody else owns this work now: leave, and write nothing
"""


class CollectError(Exception):
    """Something the platform can name: `what` happened, and what to do about it (`remedy`)."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}" if self.remedy else self.what


class Transient(CollectError):
    """A failure that may pass by itself; the request's owner retries it."""


class Throttled(Transient):
    """The source asked to wait `delay` seconds before the next request."""

    def __init__(self, what: str, delay: float, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.delay = delay


class Rejected(CollectError):
    """One record cannot be stored as it is. `reason` is a short stable word to group by."""

    def __init__(self, reason: str, what: str, record_id: str | None = None) -> None:
        super().__init__(what)
        self.reason, self.record_id = reason, record_id


class Misconfigured(CollectError):
    """What was asked can never work until somebody changes it."""


class Unreachable(CollectError):
    """A server the platform needs (Prefect, a store) does not answer."""


class Refused(CollectError):
    """The present state of a run or shard forbids the verb."""


class Fenced(CollectError):
    """The lease was lost: another worker has the work now. This write changed nothing."""
