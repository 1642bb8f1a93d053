"""What is asked of runs and their shards: to pause, to go on, to be done over, to be given up."""

import time
from collections.abc import Callable
from typing import Annotated, Self

from anyio import sleep, to_thread
from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.sql.control import Subject
from blocks.sql.retrying import Scope
from blocks.stores import Storage
from collectors.errors import Refused
from collectors.models import Collection, ShardRetry
from deployments.api import shapes
from deployments.api.answers import answer
from deployments.api.guard import Guarded
from deployments.api.runs import RunId, prefect_missing, storage_of
from deployments.retries import policy_of
from flows import control

router = APIRouter(prefix="/api/task/{run}", tags=["runs"], route_class=Guarded)
LOOK_EVERY = 0.05
ShardId = Annotated[str, Path(max_length=16)]
Wait = Annotated[float, Query(ge=0, le=60, description="seconds to hold the answer until it has taken effect")]
ANSWERS = shapes.one(shapes.Controlled, 409)


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the source is slow"}]})

    reason: str | None = Field(None, max_length=1_000, description="why; it is shown with the run")


class Pause(Asked):
    hard: bool = Field(False, description="its process leaves, too: what it takes is free for others")


class RetryOfShard(Asked):
    """How often a shard is tried again that fails again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"max_retries": 2}]})

    max_retries: int | None = Field(None, ge=0, le=99, description="tries of a shard after the first one")
    interval: float | None = Field(None, gt=0, le=3600, description="seconds before the next try")
    exponential_backoff: bool | None = Field(None, description="whether the interval is doubled each time")


class Retry(RetryOfShard):
    """What is done over, and how often a shard is that fails again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"scope": "failed", "max_retries": 2}]})

    scope: Scope = Field("failed", description="what failed, from its checkpoints; all, read anew; or the shards named")
    shards: tuple[Annotated[str, Field(max_length=16)], ...] = Field((), max_length=10_000)

    @model_validator(mode="after")
    def _shards_belong_to_specific(self) -> Self:
        if bool(self.shards) != (self.scope == "specific"):
            raise ValueError("shards are named for the scope specific, and only for that")
        return self


AS_IT_IS, ANYWAY, NOW = Retry(), Asked(), Pause()
THAT_ONE = RetryOfShard()


@router.post("/pause", responses=ANSWERS)
async def pause(request: Request, run: RunId, body: Annotated[Pause, Body()] = NOW, wait: Wait = 0.0) -> Response:
    """Have a run stop at its next checkpoint, until it is resumed. PAUSING until whoever works on it has let go."""
    return await _told(request, run, lambda it: control.pause(it, run, None, body.reason, body.hard), wait)


@router.post("/resume", responses=ANSWERS)
async def resume(request: Request, run: RunId, body: Annotated[Asked, Body()] = ANYWAY, wait: Wait = 0.0) -> Response:
    """Have a run go on from its checkpoints: in the process that waits for it, or carried out by the service."""
    return await _told(request, run, lambda it: control.resume(it, run, awaited=True), wait)


@router.post("/cancel", responses=ANSWERS)
async def cancel(request: Request, run: RunId, body: Annotated[Asked, Body()] = ANYWAY, wait: Wait = 0.0) -> Response:
    """Give up a run for good. What was read stays."""
    return await _told(request, run, lambda it: control.cancel(it, run, None, body.reason), wait)


@router.post("/retry", responses=shapes.one(shapes.Retried, 409))
def retry(request: Request, run: RunId, body: Annotated[Retry, Body()] = AS_IT_IS) -> Response:
    """Do over what failed in a run, some of its shards, or all of it; the service carries it out."""
    storage = _mine(request, run)
    policy = _policy(storage, run, body)
    again = storage.control.retry(run, body.scope, body.shards, policy, awaited=True, reason=body.reason)
    state = storage.control.look(run).state
    return answer(request, {"run_id": run, "state": state, "shards": again, "status": f"/api/task/{run}/status"})


@router.post("/shards/{shard}/pause", responses=ANSWERS)
async def pause_shard(
    request: Request, run: RunId, shard: ShardId, body: Annotated[Pause, Body()] = NOW, wait: Wait = 0.0
) -> Response:
    """Have one shard stop at its next checkpoint, until it is resumed; the others go on."""
    return await _told(request, run, lambda it: control.pause(it, run, shard, body.reason, body.hard), wait)


@router.post("/shards/{shard}/resume", responses=ANSWERS)
async def resume_shard(
    request: Request, run: RunId, shard: ShardId, body: Annotated[Asked, Body()] = ANYWAY, wait: Wait = 0.0
) -> Response:
    """Have a shard go on from its checkpoint."""
    return await _told(request, run, lambda it: control.resume(it, run, shard, awaited=True), wait)


@router.post("/shards/{shard}/cancel", responses=ANSWERS)
async def cancel_shard(
    request: Request, run: RunId, shard: ShardId, body: Annotated[Asked, Body()] = ANYWAY, wait: Wait = 0.0
) -> Response:
    """Give up one shard for good; the run ends PARTIALLY_COMPLETED."""
    return await _told(request, run, lambda it: control.cancel(it, run, shard, body.reason), wait)


@router.post("/shards/{shard}/retry", responses=ANSWERS)
async def retry_shard(
    request: Request, run: RunId, shard: ShardId, body: Annotated[RetryOfShard, Body()] = THAT_ONE
) -> Response:
    """Do over one shard: from its checkpoint, or from the start when it was complete."""

    def again(storage: Storage) -> Subject:
        policy = _policy(storage, run, body)
        storage.control.retry(run, "specific", (shard,), policy, awaited=True, reason=body.reason)
        return storage.control.look(run, shard)

    return await _told(request, run, again)


def _mine(request: Request, run: str) -> Storage:
    """Raises Misconfigured, which is answered by 404, for a run of another tenant as for none."""
    storage = storage_of(request)
    storage.catalog.run(run, request.state.caller.tenant)
    return storage


def _policy(storage: Storage, run: str, body: RetryOfShard) -> ShardRetry | None:
    own = Collection.model_validate_json(storage.catalog.run(run)["definition"]).strategy.shard_retry
    backoff = None if body.exponential_backoff is None else "exponential" if body.exponential_backoff else "fixed"
    return policy_of(own, body.max_retries, body.interval, backoff)


async def _told(request: Request, run: str, ask: Callable[[Storage], Subject], wait: float = 0.0) -> Response:
    """Held without a thread, until whoever works on it has followed: others are answered meanwhile."""
    storage, give_up = storage_of(request), time.monotonic() + wait
    await to_thread.run_sync(_mine, request, run)
    while True:
        try:
            found = await to_thread.run_sync(ask, storage)
            break
        except Refused as error:
            if error.code != control.NOT_YET or time.monotonic() >= give_up:
                raise
        await sleep(LOOK_EVERY)
    while found.state in control.UNSETTLED and time.monotonic() < give_up:
        await sleep(LOOK_EVERY)
        found = await to_thread.run_sync(storage.control.look, found.run_id, found.shard_id)
    told = {name: getattr(found, name) for name in ("run_id", "shard_id", "state", "reason")}
    waiting = None if found.led else prefect_missing(request)
    return answer(request, told | {"status": f"/api/task/{found.run_id}/status", "waiting_for": waiting})
