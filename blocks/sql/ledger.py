"""The ledger: which batch has come how far, and what it did. It shares the rows' database, and their transactions."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, insert, literal, or_, select, true, update

from blocks.sql.constructs import Upsert, execute_bound, fresh, now
from blocks.sql.tables import batch as ledger
from blocks.sql.tables import run
from collectors.models import Batch, Verdict

VERDICTS = [verdict.value for verdict in Verdict]
# Named, so that the index finds them among all that are done.
IS_OPEN = or_(ledger.c.stage == "published", ledger.c.stage == "rows")

_NOTHING_COUNTED = dict.fromkeys(VERDICTS, 0)
_COUNTED = [(ledger.c[verdict], fresh(ledger.c[verdict])) for verdict in VERDICTS]
_ENTER = Upsert(ledger, [*_COUNTED, (ledger.c.stage, literal("rows"))], guard=ledger.c.stage == "published").values(
    published_at=now()
)
_CONFIRM = Upsert(ledger, [(ledger.c.confirmed, true())]).values(published_at=now())
_PASS_OVER = insert(ledger).values(published_at=now(), done_at=now())
_FINISH = update(ledger).where(ledger.c.batch_id == bindparam("key")).values(stage="done", done_at=now())
_REPLACE = update(ledger).where(ledger.c.batch_id.in_(bindparam("lost", expanding=True)), IS_OPEN)
# Of what was lost half-way, rows may stand without their documents, too.
_UNFINISHED = select(ledger.c.batch_id).where(
    ledger.c.tenant == bindparam("tenant"),
    ledger.c.collection == bindparam("collection"),
    or_(IS_OPEN, ledger.c.stage == "refetched"),
)


def enter(connection: Connection, batch: Batch, counts: Mapping[Verdict, int]) -> None:
    """The batch's rows are written. What it counts as stays what it was the first time."""
    counted = {verdict.value: counts.get(verdict, 0) for verdict in Verdict}
    execute_bound(connection, _ENTER, _entry(batch) | counted | {"stage": "rows", "confirmed": False})


def confirm(connection: Connection, batches: Sequence[Batch]) -> None:
    """The batches belong to a checkpointed page. A loader may have entered them before, and come further."""
    for batch in batches:
        entry = _entry(batch) | _NOTHING_COUNTED | {"stage": "published", "confirmed": True}
        execute_bound(connection, _CONFIRM, entry)


def pass_over(connection: Connection, batch: Batch, unchanged: int) -> None:
    """A page that says what it said before: nothing of it was published."""
    counted = _NOTHING_COUNTED | {Verdict.UNCHANGED.value: unchanged}
    entry = _entry(batch) | counted | {"stage": "done", "confirmed": True, "size": unchanged}
    execute_bound(connection, _PASS_OVER, entry)


def finish(connection: Connection, batch: Batch) -> None:
    """The batch is in every store."""
    execute_bound(connection, _FINISH, {"key": batch.batch_id})


def unfinished(connection: Connection, batch: Batch) -> frozenset[str]:
    """The batches of the same collection that are not in every store yet."""
    of = {"tenant": batch.tenant, "collection": batch.collection}
    return frozenset(execute_bound(connection, _UNFINISHED, of).scalars())


def open_of_run() -> Any:
    """The confirmed batches of `run` that are not in every store; to be joined with it."""
    of_run = (ledger.c.tenant == run.c.tenant, ledger.c.collection == run.c.collection, ledger.c.run_id == run.c.run_id)
    return and_(*of_run, IS_OPEN, ledger.c.confirmed.is_(True))


def replace(connection: Connection, lost: Sequence[Batch], found: Sequence[Batch]) -> None:
    """What was lost counts no more; what was found in its place does."""
    confirm(connection, found)
    values = {"stage": "refetched", "confirmed": False}
    connection.execute(_REPLACE.values(values), {"lost": [batch.batch_id for batch in lost]})


def _entry(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": batch.batch_id,
        "tenant": batch.tenant,
        "collection": batch.collection,
        "run_id": batch.run_id,
        "shard_id": batch.shard_id,
        "observation": batch.observation,
        "size": len(batch.records),
        "arrived_at": batch.arrived_at or None,
        "record_ids": orjson.dumps([(record.kind, record.id) for record in batch.records]).decode(),
    }
