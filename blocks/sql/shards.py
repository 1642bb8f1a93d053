"""Where shards stand: claims, checkpoints and releases, each write guarded by the fence."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from blocks.sql import leases, ledger
from blocks.sql.sqlite import Database, now
from blocks.sql.tables import batch, counter, quarantine, run, shard
from collectors.errors import Fenced, Refused
from collectors.interfaces import Claim, Standing
from collectors.models import Batch, Json, Quarantined
from collectors.states import SHARD_MOVES, Desired, ShardState, sources_of

_OBSERVE = (
    insert(counter)
    .values(name="observation", value=1)
    .on_conflict_do_update(index_elements=[counter.c.name], set_={"value": counter.c.value + 1})
    .returning(counter.c.value)
)
_DESIRED = select(run.c.desired).where(run.c.run_id == bindparam("run"))
_STANDING = select(
    run.c.desired,
    select(func.coalesce(func.sum(shard.c.quarantined), 0)).where(shard.c.run_id == run.c.run_id).scalar_subquery(),
    select(func.count()).select_from(batch).where(ledger.open_of_run()).scalar_subquery(),
).where(run.c.run_id == bindparam("run"))


class Shards:
    def __init__(self, database: Database, lease_seconds: float = leases.LEASE_SECONDS) -> None:
        self._database = database
        self.lease_seconds = lease_seconds

    def observe(self) -> int:
        # Durable with the rows that carry the number: a number that was never stored may be given again.
        with self._database.write(durable=False) as connection:
            return connection.execute(_OBSERVE).scalar_one()

    def claim(self, run_id: str, shard_id: str, owner: str) -> Claim:
        """Take the shard's lease. Raises Refused while another worker renews it, or when the shard has ended."""
        key = _key(run_id, shard_id)
        with self._database.write() as connection:
            connection.execute(
                update(shard).where(key, shard.c.state == ShardState.FAILED).values(state=ShardState.RETRYING)
            )
            allowed = sources_of(SHARD_MOVES, ShardState.RUNNING) | {ShardState.RUNNING}
            fence = leases.take(
                connection,
                shard,
                and_(key, shard.c.state.in_(allowed)),
                owner,
                self.lease_seconds,
                state=ShardState.RUNNING,
                attempts=shard.c.attempts + 1,
                started_at=func.coalesce(shard.c.started_at, now()),
                ended_at=None,
                error=None,
            )
            row = connection.execute(select(shard).where(key)).mappings().one()
        if fence is None:
            raise Refused(
                "shard {run}/{shard} is {state} and held by {owner}",
                "Watch it with: collect shards {run}",
                code="COL-0405",
                run=run_id,
                shard=shard_id,
                state=row["state"],
                owner=row["owner"] or "-",
            )
        return Claim(
            run_id=run_id,
            shard_id=shard_id,
            owner=owner,
            fence=fence,
            stage=row["stage"],
            span=orjson.loads(row["span"]),
            cursor=orjson.loads(row["cursor"]),
            page=row["page"],
        )

    def checkpoint(
        self,
        claim: Claim,
        page: int,
        cursor: Json,
        batches: Sequence[Batch],
        refused: Sequence[Quarantined],
        read: int,
    ) -> Standing:
        with self._database.write() as connection:
            self._guarded(
                connection,
                claim,
                cursor=orjson.dumps(cursor).decode(),
                page=page + 1,
                fetched=shard.c.fetched + read,
                quarantined=shard.c.quarantined + len(refused),
                lease_until=leases.until(self.lease_seconds),
            )
            ledger.confirm(connection, batches)
            _set_aside(connection, claim, page, refused)
            return _standing(connection, claim)

    def standing(self, claim: Claim) -> Standing:
        with self._database.read() as connection:
            return _standing(connection, claim)

    def renew(self, claim: Claim) -> Desired:
        # A lease is worth nothing to a machine that died, so it need not wait for the disk.
        with self._database.write(durable=False) as connection:
            self._guarded(connection, claim, lease_until=leases.until(self.lease_seconds))
            return _desired(connection, claim)

    def release(self, claim: Claim, state: ShardState, error: str | None = None) -> None:
        with self._database.write() as connection:
            self._guarded(connection, claim, state=state, error=error, ended_at=now(), lease_until=0, owner=None)

    def _guarded(self, connection: Connection, claim: Claim, **values: Any) -> None:
        written = connection.execute(
            update(shard)
            .where(_key(claim.run_id, claim.shard_id), shard.c.fence == claim.fence, shard.c.owner == claim.owner)
            .values(values)
        )
        if not written.rowcount:
            raise Fenced(
                "shard {run}/{shard} was taken over by another worker",
                "Watch it with: collect shards {run}",
                code="COL-0401",
                run=claim.run_id,
                shard=claim.shard_id,
            )


def _key(run_id: str, shard_id: str) -> Any:
    return and_(shard.c.run_id == run_id, shard.c.shard_id == shard_id)


def _desired(connection: Connection, claim: Claim) -> Desired:
    return Desired(connection.scalar(_DESIRED, {"run": claim.run_id}))


def _standing(connection: Connection, claim: Claim) -> Standing:
    desired, quarantined, open_batches = connection.execute(_STANDING, {"run": claim.run_id}).one()
    return Standing(Desired(desired), quarantined, open_batches)


def _set_aside(connection: Connection, claim: Claim, page: int, refused: Sequence[Quarantined]) -> None:
    if refused:
        rows = [
            {
                "run_id": claim.run_id,
                "shard_id": claim.shard_id,
                "page": page,
                "position": each.position,
                "reason": each.reason,
                "message": each.message,
                "record_id": each.record_id,
                "payload": each.payload,
            }
            for each in refused
        ]
        connection.execute(insert(quarantine).values(created_at=connection.scalar(select(now()))), rows)
