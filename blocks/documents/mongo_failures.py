"""What MongoDB's failures mean to whoever has to act on them. Whatever is not known here stays as it was raised."""

from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    OperationFailure,
    ServerSelectionTimeoutError,
)
from pymongo.topology_description import TopologyDescription

from collectors.errors import CollectError, Misconfigured, Rejected, Unreachable

FAILURES = (OperationFailure, ConnectionFailure, ConfigurationError, BSONError, OverflowError, UnicodeError)
DUPLICATE = 11000
NOT_LET_IN = frozenset({13, 18})
# In MongoDB's names: WriteConcernFailed, FailedToSatisfyReadPreference, SnapshotUnavailable, ExceededTimeLimit.
AWAY = frozenset({64, 133, 246, 262})
# BadValue, FailedToParse, Overflow (nested too deep), InvalidBSON, two of names of fields, DocumentValidationFailure,
# KeyTooLong, and three of too large.
DATA = frozenset({2, 9, 15, 22, 52, 57, 121, 17280, 10334, 17419, 17420})


def meaning(error: Exception, server: str, topology: TopologyDescription | None) -> CollectError | None:
    """None: nothing is known of it."""
    match error:
        case BSONError() | OverflowError() | UnicodeError() | DocumentTooLarge():
            return _refused(error)
        case ConfigurationError():
            return _not_let_in(server, error)
        case ServerSelectionTimeoutError() if topology and _has_no_members(topology):
            return no_replica_set(server)
        case ConnectionFailure():
            return _away(server, error)
        case BulkWriteError():
            return _of_bulk(error, server)
        case OperationFailure():
            return _of_code(error.code, error, server, error.timeout)
    return None


def duplicates(error: BulkWriteError) -> list[int] | None:
    """The places of the documents that are there already; None when anything else failed as well."""
    failed = error.details["writeErrors"]
    others = error.details["writeConcernErrors"] or any(each["code"] != DUPLICATE for each in failed)
    return None if others else [each["index"] for each in failed]


def no_replica_set(server: str) -> Misconfigured:
    return Misconfigured(
        "MongoDB at {server} is no replica set, which majority writes need",
        "Start it with --replSet, and call replSetInitiate once; one member is enough.",
        code="COL-0641",
        server=server,
    )


def _has_no_members(topology: TopologyDescription) -> bool:
    """Whether it answered, but belongs to no replica set, to another one than the address names, or to one that was
    not initiated."""
    servers = topology.server_descriptions().values()
    return not servers or any(each.server_type_name == "RSGhost" for each in servers)


def _of_bulk(error: BulkWriteError, server: str) -> CollectError | None:
    if error.details["writeConcernErrors"]:
        return _away(server, error.details["writeConcernErrors"][0]["errmsg"])
    first = next((each for each in error.details["writeErrors"] if each["code"] != DUPLICATE), None)
    return first and _of_code(first["code"], first["errmsg"], server, error.timeout)


def _of_code(code: int | None, why: Any, server: str, too_late: bool) -> CollectError | None:
    if code in DATA:
        return _refused(why)
    if code in NOT_LET_IN:
        return _not_let_in(server, why)
    return _away(server, why) if too_late or code in AWAY else None


def _refused(why: Any) -> Rejected:
    return Rejected("refused-by-mongodb", "MongoDB refuses it: {why}", code="COL-0643", why=_said(why))


def _not_let_in(server: str, why: Any) -> Misconfigured:
    return Misconfigured(
        "MongoDB at {server} does not let us in ({why})",
        "Check user, password, authSource and rights: collect storage check",
        code="COL-0642",
        server=server,
        why=_said(why),
    )


def _away(server: str, why: Any) -> Unreachable:
    return Unreachable(
        "MongoDB at {server} does not answer ({why})",
        "Check that it runs, has a primary and is reached from here: collect storage check",
        code="COL-0640",
        server=server,
        why=_said(why),
    )


def _said(why: Any) -> str:
    """Without the topology and the whole answer, which pymongo adds at length."""
    return str(why).partition(", Timeout:")[0].partition(", full error:")[0][:300]
