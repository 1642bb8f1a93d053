"""What is asked of runs that exist: to do over what failed."""

from typing import Annotated, Self

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.sql.control import Scope
from collectors.models import Collection
from deployments.api import shapes
from deployments.api.answers import answer
from deployments.api.guard import Guarded
from deployments.api.runs import RunId, storage_of
from deployments.retries import policy_of

router = APIRouter(prefix="/api/task/{run}", tags=["runs"], route_class=Guarded)


class Retry(BaseModel):
    """What is done over, and how often a shard is that fails again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"scope": "failed", "max_retries": 2}]})

    scope: Scope = Field("failed", description="what failed, from its checkpoints; all, read anew; or the shards named")
    shards: tuple[Annotated[str, Field(max_length=16)], ...] = Field((), max_length=10_000)
    max_retries: int | None = Field(None, ge=0, le=99, description="tries of a shard after the first one")
    interval: float | None = Field(None, gt=0, le=3600, description="seconds before the next try")
    exponential_backoff: bool | None = Field(None, description="whether the interval is doubled each time")

    @model_validator(mode="after")
    def _shards_belong_to_specific(self) -> Self:
        if bool(self.shards) != (self.scope == "specific"):
            raise ValueError("shards are named for the scope specific, and only for that")
        return self


AS_IT_IS = Retry()


@router.post("/retry", responses=shapes.one(shapes.Retried, 409))
def retry(request: Request, run: RunId, body: Annotated[Retry, Body()] = AS_IT_IS) -> Response:
    """Do over what failed in a run that has ended, some of its shards, or all of it; the service carries it out."""
    storage = storage_of(request)
    row = storage.catalog.run(run, request.state.caller.tenant)
    own = Collection.model_validate_json(row["definition"]).strategy.shard_retry
    backoff = None if body.exponential_backoff is None else "exponential" if body.exponential_backoff else "fixed"
    policy = policy_of(own, body.max_retries, body.interval, backoff)
    again = storage.control.retry(run, body.scope, body.shards, policy, awaited=True)
    state = storage.catalog.run(run)["state"]
    return answer(request, {"run_id": run, "state": state, "shards": again, "status": f"/api/task/{run}/status"})
