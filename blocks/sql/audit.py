"""Who did what: written in the transaction of what it tells of, each entry sealed together with the one before it."""

import json
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from blocks.acting import ACTING
from blocks.sql.audit_chain import END, NO_SEAL, SEALED, Anchor, Verified, verified
from blocks.sql.constructs import Upsert, now
from blocks.sql.database import Database, repeatable
from blocks.sql.sealing import Seals
from blocks.sql.tables import audit, audit_end

_HIGHEST = select(func.coalesce(func.max(audit.c.number), 0))
# Who appends waits here for others who do, until they have committed.
_LAST = (
    select(
        audit_end.c.number,
        audit_end.c.key_id,
        audit_end.c.seal,
        audit.c.seal.label("before"),
        now().label("at"),
    )
    .select_from(audit_end.outerjoin(audit, audit.c.number == audit_end.c.number))
    .where(audit_end.c.name == END)
    .with_for_update()
)


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def entries(self, tenant: str | None = None, limit: int = 50, before: int | None = None) -> list[dict[str, Any]]:
        """Newest first, those of all tenants or of one; `before`: those with a lower number."""
        query = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if tenant is not None:
            query = query.where(audit.c.tenant == tenant)
        if before is not None:
            query = query.where(audit.c.number < before)
        with self._database.read() as connection:
            return [{**row, "details": _parsed(row["details"])} for row in connection.execute(query).mappings()]

    @repeatable
    def verify(self, anchor: Anchor | None = None) -> Verified:
        """Whether all entries stand as they were written, as far as that can be known from inside.

        `anchor`: an entry that was the last one once, which has to be there still.
        """
        with self._database.read() as connection:
            end = connection.execute(select(audit_end).where(audit_end.c.name == END)).mappings().first()
            return verified(connection, _seals(connection), end, anchor)


def audited(connection: Connection, tenant: str, action: str, subject: str, **details: Any) -> None:
    """Append that whoever acts has done `action` to `subject`; the last thing a transaction does.

    Of the details those that are None are left out. None may be a secret: they stay for ever.
    """
    seals = _seals(connection)
    number, before, at = _end(connection, seals)
    said = {name: value for name, value in details.items() if value is not None}
    text = json.dumps(said, ensure_ascii=False, sort_keys=True)
    entry = dict(zip(SEALED, (number + 1, at, tenant, ACTING.get(), action, subject, text), strict=True))
    key_id, seal = seals.sealed(*entry.values(), before)
    connection.execute(insert(audit).values(**entry, key_id=key_id, seal=seal))
    _, sealed_end = seals.sealed(END, number + 1, seal)
    end = {"number": number + 1, "key_id": key_id, "seal": sealed_end}
    connection.execute(update(audit_end).where(audit_end.c.name == END).values(end))


def _end(connection: Connection, seals: Seals) -> tuple[int, str, int]:
    """Number and seal of the last entry, and the time.

    Where the end does not stand as it was written, the next entry follows upon nothing, which is seen for ever: it must
    not be sealed together with what somebody else has left there.
    """
    found = connection.execute(_LAST).first()
    if found is None:
        keep = [(audit_end.c.number, audit_end.c.number)]
        nothing = {"name": END, "number": _HIGHEST.scalar_subquery(), "key_id": "", "seal": NO_SEAL}
        connection.execute(Upsert(audit_end, keep).values(nothing))
        found = connection.execute(_LAST).one()
    if found.before and seals.holds(found.seal, found.key_id, END, found.number, found.before):
        return found.number, found.before, found.at
    return max(found.number, connection.scalar(_HIGHEST)), NO_SEAL, found.at


def _seals(connection: Connection) -> Seals:
    return connection.get_execution_options()["seals"]


def _parsed(details: str) -> dict[str, Any]:
    """One that somebody has written over is shown as it stands."""
    try:
        found = json.loads(details)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"?": details}
