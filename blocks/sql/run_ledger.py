"""The ledger by run: which batches stand where, and what replaces those that were lost."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, select

from blocks.sql import ledger
from blocks.sql.constructs import now
from blocks.sql.database import Database, repeatable
from blocks.sql.refusals import set_aside_of
from blocks.sql.run_rows import led
from blocks.sql.shards import Shards
from blocks.sql.tables import batch, run, shard
from collectors.interfaces import RunClaim
from collectors.models import Batch
from collectors.recovering import OpenBatch, Refusal

_OPEN = (
    select(batch, shard.c.stage.label("read_in"), shard.c.span, run.c.epoch)
    .select_from(
        batch.join(run, run.c.run_id == batch.c.run_id).join(
            shard, and_(shard.c.run_id == batch.c.run_id, shard.c.shard_id == batch.c.shard_id)
        )
    )
    .where(ledger.open_of_run(), run.c.run_id == bindparam("of_run"))
    .order_by(batch.c.batch_id)
)

_OPEN_STAGES = (
    select(batch.c.batch_id, batch.c.stage)
    .select_from(batch.join(run, run.c.run_id == batch.c.run_id))
    .where(ledger.open_of_run(), run.c.run_id == bindparam("of_run"))
)


class RunLedger:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.observe = Shards(database).observe

    @repeatable
    def entries(self, run_id: str) -> list[dict[str, Any]]:
        """All batches of a run in the order they were published, each with its age in microseconds."""
        age = (now() - batch.c.published_at).label("age")
        query = select(batch, age).where(batch.c.run_id == run_id).order_by(batch.c.published_at, batch.c.batch_id)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @repeatable
    def open_stages(self, run_id: str) -> frozenset[tuple[str, str]]:
        with self._database.read() as connection:
            return frozenset(map(tuple, connection.execute(_OPEN_STAGES, {"of_run": run_id})))

    @repeatable
    def open_batches(self, run_id: str) -> list[OpenBatch]:
        with self._database.read() as connection:
            return [_open(row) for row in connection.execute(_OPEN, {"of_run": run_id}).mappings()]

    @repeatable
    def replace(
        self, claim: RunClaim, lost: Sequence[Batch], found: Sequence[Batch], refused: Sequence[Refusal]
    ) -> None:
        """Raises Fenced when another process leads the run now."""
        with self._database.write() as connection:
            led(connection, claim, fence=claim.fence)
            ledger.replace(connection, lost, found)
            for each in refused:
                set_aside_of(connection, each.batch, [each.record])


def _open(row: Any) -> OpenBatch:
    of = {name: row[name] for name in ("tenant", "collection", "run_id", "shard_id", "observation")}
    return OpenBatch(
        batch=Batch(
            **of,
            page=row["batch_id"].split("/")[2],
            records=(),
            arrived_at=row["arrived_at"] or 0,
            epoch=row["epoch"] or 0,
        ),
        identities=tuple(map(tuple, orjson.loads(row["record_ids"]))),
        stage=row["read_in"],
        span=orjson.loads(row["span"]),
    )
