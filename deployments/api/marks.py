"""Up to which time of its source a collection is complete, and how to begin anew."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from collectors.models import LONGEST_NAME
from deployments.api import shapes
from deployments.api.answers import answer
from deployments.api.guard import Guarded
from deployments.api.runs import storage_of
from deployments.definitions import known
from deployments.marking import mark_of, set_to

router = APIRouter(prefix="/api/collections/{name}", tags=["watermarks"], route_class=Guarded)
Name = Annotated[str, Path(max_length=LONGEST_NAME)]


class NewMark(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"watermark": "2026-01-01T00:00:00Z"}]})

    watermark: str | None = Field(max_length=60, description="a time of the source with its zone; null takes it away")


@router.get("/watermark", responses=shapes.one(shapes.Mark))
def watermark(request: Request, name: Name) -> Response:
    """Where the next incremental run of a collection begins."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    known(name, storage.registry, tenant)
    return answer(request, mark_of(name, storage.watermarks.of(tenant, name)))


@router.put("/watermark", responses=shapes.one(shapes.Mark, 409))
def set_watermark(request: Request, name: Name, body: Annotated[NewMark, Body()]) -> Response:
    """Set it, also backwards, or take it away. 409 while a run is under way."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    if body.watermark is None:
        known(name, storage.registry, tenant)
        storage.watermarks.set(tenant, name, None)
    else:
        set_to(storage, tenant, name, body.watermark)
    return answer(request, mark_of(name, storage.watermarks.of(tenant, name)))


@router.post("/epoch", responses=shapes.one(shapes.Mark, 409))
def bump_epoch(request: Request, name: Name) -> Response:
    """Begin anew, after the source was restored from a backup: what is read from now on is newer than all there is."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    known(name, storage.registry, tenant)
    storage.watermarks.bump(tenant, name)
    return answer(request, mark_of(name, storage.watermarks.of(tenant, name)))
