"""MySQL or MariaDB, shared by any number of processes and machines."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any

import pymysql
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as QueuedTooLong

from blocks.sql.constructs import BYTEWISE
from blocks.sql.database import LONGEST_OUTAGE, Contended
from blocks.sql.sealing import Seals
from collectors.errors import CollectError, Misconfigured, Rejected, Unreachable, Unusable

CONNECT_SECONDS = 3
ANSWER_SECONDS = 10
CONNECTIONS = 16
# In times an answer may take. A process that is frozen keeps its locks until the server gives it up, and who waits for
# them has to try for longer than that.
LOCK_WAIT, CONNECTION_AGE, SILENCE = 0.5, 2, 3
SESSION = (
    "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', "
    "innodb_lock_wait_timeout = {lock_wait}, wait_timeout = {silence}"
)
# What the numbers of MySQL's errors mean to who asked.
CONTENDED = frozenset({1020, 1205, 1213})
REFUSED_DATA = frozenset({1048, 1264, 1292, 1300, 1366, 1406, 3988})
AWAY = frozenset({1040, 1053, 1203, 1226, 1290, 1317, 1836, 1927, 2002, 2003, 2006, 2013, 2014, 2055})
NOT_LET_IN = frozenset({1044, 1045, 1049, 1130, 1142, 1143, 1227, 1698})
WITHOUT_TLS = frozenset({2026, 3159})
WITHOUT_TABLES = frozenset({1054, 1146})
FULL = frozenset({3, 1021, 1041, 1114})
TROUBLES: dict[frozenset[int], tuple[type[CollectError], str, str, str]] = {
    AWAY: (
        Unreachable,
        "COL-0621",
        "the database {server} does not answer ({why})",
        "Check that it runs and is reached from here: collect storage check",
    ),
    NOT_LET_IN: (
        Misconfigured,
        "COL-0622",
        "the database {server} does not let us in ({why})",
        "Check user, password, database and rights: collect storage check",
    ),
    WITHOUT_TLS: (
        Misconfigured,
        "COL-0627",
        "no TLS with the database {server} ({why})",
        "Its address wants the authority that signed the server's certificate: ?ssl_ca=FILE",
    ),
    WITHOUT_TABLES: (
        Misconfigured,
        "COL-0623",
        "the database {server} has not the tables this version needs ({why})",
        "Make them with: collect storage migrate",
    ),
    FULL: (
        Unusable,
        "COL-0624",
        "the database {server} has no room left ({why})",
        "Make room on its disk, then: collect resume RUN (collect status names it)",
    ),
    CONTENDED: (
        Contended,
        "COL-0620",
        "transactions in the database {server} were in each other's way ({why})",
        "Try again; should it stay so, look for a long transaction of another program.",
    ),
}


class MysqlDatabase:
    """One database of a server; `url` as SQLAlchemy takes it: mysql+pymysql://user:password@host:port/database.

    Whatever uses it raises Unreachable when the server does not answer, Misconfigured when it does not let us in or
    has not our tables, Contended when another transaction was in the way, Rejected when it refuses the data.
    """

    def __init__(
        self, url: str, *, outage: float = LONGEST_OUTAGE, answer: int = ANSWER_SECONDS, seals: Seals | None = None
    ) -> None:
        """`outage`: seconds a server that went away is waited for; `answer`: seconds it has for one answer; `seals`:
        what the audit is sealed with."""
        self.url, self.outage = url, outage
        # A writer sees what others have just committed; a reader one state from beginning to end.
        sealed = {"seals": seals or Seals.passing()}
        self._writer, self._reader = (
            _engine(url, each, answer, sealed) for each in ("READ COMMITTED", "REPEATABLE READ")
        )
        address = self._writer.url
        self.server = f"{address.host}:{address.port or 3306}/{address.database}"

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction; how durable it is, the server decides."""
        with self._explained(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._explained(), self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, pymysql.Error, UnicodeEncodeError, OSError) as error:
            if meaning := self._meaning(error):
                raise meaning from error
            raise

    def _meaning(self, error: Exception) -> CollectError | None:
        """What people, or a loader, can act on, if the error says such a thing."""
        why = error.orig if isinstance(error, DBAPIError) else error
        number = _number(why)
        if number in REFUSED_DATA:
            return Rejected("refused-by-the-database", "the database refuses it: {why}", code="COL-0625", why=why)
        for numbers, (kind, code, what, remedy) in TROUBLES.items():
            if number in numbers:
                return kind(what, remedy, code=code, server=self.server, why=why)
        return None


def _number(why: Exception) -> int | None:
    """The number of MySQL's error, or that of one that means the same."""
    if isinstance(why, UnicodeEncodeError | pymysql.DataError):
        return min(REFUSED_DATA)
    if isinstance(why, QueuedTooLong | pymysql.InterfaceError):
        return min(AWAY)
    # Files are read for TLS alone; whether a certificate is right is found out while connecting.
    if isinstance(why, OSError) or isinstance(getattr(why, "original_exception", None), ssl.SSLCertVerificationError):
        return min(WITHOUT_TLS)
    return why.args[0] if isinstance(why, pymysql.Error) and why.args else None


def _engine(url: str, isolation: str, answer: int, options: dict[str, Any]) -> Engine:
    engine = create_engine(
        url,
        isolation_level=isolation,
        execution_options=options,
        paramstyle="format",
        hide_parameters=True,
        pool_recycle=CONNECTION_AGE * answer,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=answer,
        pool_reset_on_return=None,  # each transaction was ended by who began it
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": answer,
            "write_timeout": answer,
        },
    )
    event.listen(engine, "connect", partial(_prepare, answer))
    return engine


def _prepare(answer: int, connection: pymysql.Connection, _: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SESSION.format(lock_wait=ceil(LOCK_WAIT * answer), silence=SILENCE * answer))
        # Else MariaDB finds no way to compare a column with a list of which some hold ASCII alone.
        is_mariadb = "MariaDB" in connection.get_server_info()
        cursor.execute(f"SET NAMES utf8mb4 COLLATE {BYTEWISE[is_mariadb]}")
