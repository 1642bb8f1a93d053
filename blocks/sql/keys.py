"""Keys of the service: who may ask it for what, and until when. A secret is shown once; its hash is kept."""

import hashlib
import hmac
import secrets
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, insert, literal, select, update

from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import api_key
from collectors.errors import Misconfigured
from collectors.models import one_word

PREFIX = "pck"
AN_HOUR = 3600 * 1_000_000
A_DAY = 24 * AN_HOUR


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Caller(NamedTuple):
    """Whose key it is, and what it may do."""

    key_id: str
    tenant: str
    role: Role


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contending
    def create(self, tenant: str, role: Role, name: str, days: int) -> tuple[str, str]:
        """The key, which nobody can tell again, and its id. It ends by itself after so many days.

        Raises Misconfigured when its own name is too long, or the tenant's is none.
        """
        _check(tenant, name)
        said = {"role": role.name.lower(), "name": name}
        with self._database.write() as connection:
            key, key_id = _made(connection, days, tenant=tenant, **said)
            audited(connection, tenant, "keys create", key_id, **said, days=days)
        return key, key_id

    @contending
    def rotate(self, key: str, days: int, hours: int = 0) -> tuple[str, str]:
        """A new key, and its id, with tenant, role and name of a valid one, which ends after so many hours; 0: now.

        The old one by its id, or by itself. Raises Misconfigured.
        """
        with self._database.write() as connection:
            old = _existing(connection, key)
            end = now() + literal(hours * AN_HOUR)
            sooner = case((api_key.c.expires_at < end, api_key.c.expires_at), else_=end)
            mine = api_key.c.key_id == old["key_id"], _VALID
            if not connection.execute(update(api_key).where(*mine).values(expires_at=sooner)).rowcount:
                raise Misconfigured(
                    "the key {key} is not valid any more",
                    "Make a new one: collect keys create --role {role}",
                    code="COL-0291",
                    key=old["key_id"],
                    role=old["role"],
                )
            made = _made(connection, days, **{name: old[name] for name in ("tenant", "role", "name")})
            told = {"successor": made[1], "days": days, "hours": hours}
            audited(connection, old["tenant"], "keys rotate", old["key_id"], **told)
        return made

    @repeatable
    def all(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Without their hashes; `valid`: neither revoked nor expired."""
        shown = [column for column in api_key.c if column.name != "secret_hash"]
        query = select(*shown, _VALID.label("valid")).order_by(api_key.c.created_at)
        if tenant is not None:
            query = query.where(api_key.c.tenant == tenant)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @repeatable
    def revoke(self, key: str) -> None:
        """By its id, or by the key itself. Raises Misconfigured."""
        with self._database.write() as connection:
            found = _existing(connection, key)
            mine = api_key.c.key_id == found["key_id"], api_key.c.revoked_at.is_(None)
            if connection.execute(update(api_key).where(*mine).values(revoked_at=now())).rowcount:
                audited(connection, found["tenant"], "keys revoke", found["key_id"])

    @repeatable
    def caller(self, key: str) -> Caller | None:
        """Whose valid key it is."""
        prefix, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        query = select(api_key).where(api_key.c.key_id == key_id, _VALID)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None or prefix != PREFIX or not hmac.compare_digest(row["secret_hash"], _hash(secret)):
            return None
        return Caller(key_id, row["tenant"], Role[row["role"].upper()])


def _made(connection: Connection, days: int, **values: Any) -> tuple[str, str]:
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    ends = {"created_at": now(), "expires_at": now() + literal(days * A_DAY)}
    connection.execute(insert(api_key).values(key_id=key_id, secret_hash=_hash(secret), **values, **ends))
    return f"{PREFIX}_{key_id}_{secret}", key_id


def _existing(connection: Connection, key: str) -> Any:
    """By its id, or by the key itself. Raises Misconfigured."""
    key_id = key.split("_")[1] if key.startswith(f"{PREFIX}_") else key
    found = connection.execute(select(api_key).where(api_key.c.key_id == key_id)).mappings().first()
    if found is None:
        raise Misconfigured(
            "there is no key {key}", "List them with: collect keys list", code="COL-0266", key=f"{key_id:.20}"
        )
    return found


def _check(tenant: str, name: str) -> None:
    try:
        one_word(tenant)
        fits = len(tenant) <= api_key.c.tenant.type.length and len(name) <= api_key.c.name.type.length
    except ValueError:
        fits = False
    if not fits:
        raise Misconfigured(
            "a key cannot be called {name} and be of tenant {tenant}",
            "A tenant's name is one word of 64 characters at most, without slashes or colons; a key's has 100 at most.",
            code="COL-0269",
            name=f"{name!r:.120}",
            tenant=f"{tenant!r:.80}",
        )


# High entropy needs no slow hash.
def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


_VALID = (api_key.c.expires_at > now()) & api_key.c.revoked_at.is_(None)
