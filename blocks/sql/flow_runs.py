"""What Prefect has of runs and shards: which flow run carries out what, and what it was told of it last."""

from typing import Any

from sqlalchemy import bindparam, or_, select, update

from blocks.sql.database import Database, repeatable
from blocks.sql.shards import shard_key
from blocks.sql.tables import run, shard
from collectors.states import ENDED_SHARDS, ShardState


class FlowRuns:
    def __init__(self, database: Database) -> None:
        self._database = database

    @repeatable
    def carried_out_by(self, flow_run_id: str) -> dict[str, Any] | None:
        """The run that a flow run of Prefect's has carried out so far."""
        with self._database.read() as connection:
            found = connection.execute(select(run).where(run.c.flow_run_id == flow_run_id)).mappings().first()
        return found and dict(found)

    @repeatable
    def note(self, run_id: str, shard_id: str, flow_run_id: str | None) -> None:
        """The flow run that reads a placed shard; None when Prefect has it no more."""
        with self._database.write() as connection:
            connection.execute(update(shard).where(shard_key(run_id, shard_id)).values(flow_run_id=flow_run_id))

    @repeatable
    def note_told(self, run_id: str, shard_id: str | None, told: str | None) -> None:
        """What Prefect was told of it last, or said itself."""
        table, mine = (run, [run.c.run_id == run_id]) if shard_id is None else (shard, [shard_key(run_id, shard_id)])
        with self._database.write() as connection:
            connection.execute(update(table).where(*mine).values(mirrored=told))

    @repeatable
    def placed(self, run_id: str) -> list[dict[str, Any]]:
        """The shards of a run that have a flow run of their own, which may not have ended."""
        may = or_(shard.c.state.not_in(ENDED_SHARDS), shard.c.state == ShardState.CANCELLED)
        query = select(shard).where(shard.c.run_id == bindparam("run"), shard.c.flow_run_id.is_not(None), may)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query, {"run": run_id}).mappings()]
