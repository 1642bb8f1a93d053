"""What a Redis refuses, in our words. None of them holds a password."""

import ssl

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)

from collectors.errors import CollectError, Misconfigured, Unreachable

LONGEST_REASON = 300


def not_an_address() -> Misconfigured:
    return Misconfigured(
        "the address of the cache is none of a Redis",
        "It looks like redis://user:password@host:6379/0, or rediss:// with TLS; correct it: collect storage set",
        code="COL-0662",
    )


def in_our_words(error: RedisError, server: str) -> CollectError:
    why = f"{error!s:.{LONGEST_REASON}}"
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError | AuthorizationError):
        return _not_let_in(server, why)
    if isinstance(error, NoPermissionError):
        return _no_rights(server, why)
    if "DB index" in why or "SELECT is not allowed" in why:
        return _no_database(server, why)
    if isinstance(error, InvalidResponse) or "unknown command" in why:
        return _no_redis(server, why)
    if isinstance(error.__context__, ssl.SSLError) or ("No such file" in why and ":" in server):  # none of a socket
        return _no_tls(server, why)
    return Unreachable(
        "Redis at {server} does not answer, or refuses to write ({why})",
        "Start it, make room in it, or correct its address; then: collect storage check",
        code="COL-0660",
        server=server,
        why=why,
    )


def _not_let_in(server: str, why: str) -> Misconfigured:
    return Misconfigured(
        "Redis at {server} does not let us in ({why})",
        "Correct user or password in its address: collect storage set",
        code="COL-0661",
        server=server,
        why=why,
    )


def _no_rights(server: str, why: str) -> Misconfigured:
    return Misconfigured(
        "the user of Redis at {server} lacks rights ({why})",
        "Have them given: redis-cli ACL SETUSER NAME ~* +@read +@write +@scripting +@transaction +info",
        code="COL-0663",
        server=server,
        why=why,
    )


def _no_database(server: str, why: str) -> Misconfigured:
    return Misconfigured(
        "Redis at {server} has no such database ({why})",
        "Name another number at the end of its address: collect storage set",
        code="COL-0664",
        server=server,
        why=why,
    )


def _no_redis(server: str, why: str) -> Misconfigured:
    return Misconfigured(
        "what answers at {server} is no Redis, or an older one than 6 ({why})",
        "Correct host or port in its address: collect storage set",
        code="COL-0665",
        server=server,
        why=why,
    )


def _no_tls(server: str, why: str) -> Misconfigured:
    return Misconfigured(
        "no TLS with Redis at {server} ({why})",
        "Its address wants rediss://, its port for TLS, and the authority that signed it: ?ssl_ca_certs=FILE",
        code="COL-0666",
        server=server,
        why=why,
    )
