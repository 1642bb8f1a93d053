"""The row of a run: how it is made, who may write to it, and what is said where it is not there."""

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, insert, update

from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.registry import version_of
from blocks.sql.tables import run
from collectors.errors import Fenced, Misconfigured
from collectors.interfaces import RunClaim
from collectors.models import Collection
from collectors.states import Desired, RunState


def new_run_id() -> str:
    return secrets.token_hex(4)


def add_run(
    connection: Connection, run_id: str, definition: Collection, of_file: Collection | None, **values: Any
) -> None:
    connection.execute(
        insert(run).values(
            run_id=run_id,
            tenant=definition.tenant,
            collection=definition.name,
            mode=definition.mode,
            definition=definition.model_dump_json(),
            of_file=of_file and of_file.model_dump_json(),
            state=RunState.CREATED,
            desired=Desired.RUN,
            sweep=0,  # until it is planned
            epoch=0,
            version=version_of(connection, definition),
            created_at=now(),
            **values,
        )
    )
    audited(connection, definition.tenant, "start", run_id, collection=definition.name, mode=definition.mode)


def led(connection: Connection, claim: RunClaim, *conditions: Any, **values: Any) -> None:
    """Write to the row of a run. Raises Fenced when it was taken over."""
    mine = and_(run.c.run_id == claim.run_id, run.c.fence == claim.fence, run.c.owner == claim.owner, *conditions)
    if not connection.execute(update(run).where(mine).values(values)).rowcount:
        raise Fenced(
            "run {run} was taken over by another process",
            "Watch it with: collect status {run}",
            code="COL-0401",
            run=claim.run_id,
        )


def no_run(run_id: str) -> Misconfigured:
    return Misconfigured("there is no run {run}", "List them with: collect status", code="COL-0205", run=run_id)


def no_shards(run_id: str, shards: Sequence[str]) -> Misconfigured:
    return Misconfigured(
        "run {run} has no shard {shards}",
        "List them with: collect shards {run}",
        code="COL-0277",
        run=run_id,
        shards=", ".join(shards)[:200],
    )
