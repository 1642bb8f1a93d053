"""The ledger: which batch has come how far, and what it did. It shares the rows' database, and their transactions."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from blocks.sql.sqlite import now
from blocks.sql.tables import batch as ledger
from collectors.models import Batch, Verdict

VERDICTS = [verdict.value for verdict in Verdict]

_new = insert(ledger).values(published_at=now())
_ENTER = _new.on_conflict_do_update(
    index_elements=[ledger.c.batch_id],
    set_={verdict: _new.excluded[verdict] for verdict in VERDICTS} | {"stage": "rows"},
    where=ledger.c.stage == "published",
)
_CONFIRM = _new.on_conflict_do_update(index_elements=[ledger.c.batch_id], set_={"confirmed": True})
_FINISH = update(ledger).where(ledger.c.batch_id == bindparam("key")).values(stage="done", done_at=now())
_UNFINISHED = select(ledger.c.batch_id, ledger.c.stage).where(
    ledger.c.tenant == bindparam("tenant"),
    ledger.c.collection == bindparam("collection"),
    ledger.c.stage.in_(("published", "rows")),  # named, so that the index finds them among all that are done
)


def enter(connection: Connection, batch: Batch, counts: Mapping[Verdict, int]) -> None:
    """The batch's rows are written. What it counts as stays what it was the first time."""
    counted = {verdict.value: counts.get(verdict, 0) for verdict in Verdict}
    connection.execute(_ENTER, _entry(batch) | counted | {"stage": "rows", "confirmed": False})


def confirm(connection: Connection, batches: Sequence[Batch]) -> None:
    """The batches belong to a checkpointed page. A loader may have entered them before, and come further."""
    for batch in batches:
        connection.execute(_CONFIRM, _entry(batch) | {"stage": "published", "confirmed": True})


def finish(connection: Connection, batch: Batch) -> None:
    """The batch is in every store."""
    connection.execute(_FINISH, {"key": batch.batch_id})


def unfinished(connection: Connection, batch: Batch) -> dict[str, str]:
    """The batches of the same collection that are not in every store yet, and how far they are."""
    found = connection.execute(_UNFINISHED, {"tenant": batch.tenant, "collection": batch.collection})
    return dict(tuple(row) for row in found)


def _entry(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": batch.batch_id,
        "tenant": batch.tenant,
        "collection": batch.collection,
        "run_id": batch.run_id,
        "shard_id": batch.shard_id,
        "observation": batch.observation,
        "size": len(batch.records),
        "record_ids": orjson.dumps([(record.kind, record.id) for record in batch.records]).decode(),
    }
