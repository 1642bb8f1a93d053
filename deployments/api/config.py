"""Settings of a tenant and its collections, changed while everything runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from collectors.config import Place, setting
from collectors.models import LONGEST_NAME
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, answer, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.problems import HttpError
from deployments.api.runs import storage_of
from deployments.configuring import definition_of, in_force, version_of

router = APIRouter(prefix="/api/config", tags=["settings"], route_class=Guarded)
LONGEST_REASON = 1_000
EXAMPLE = {"value": 2, "collection": "demo", "reason": "the source is slow"}
Name = Annotated[str, Path(max_length=64)]
OfCollection = Annotated[
    str, Query(min_length=1, max_length=LONGEST_NAME, description="of this collection; without, of the tenant")
]
Reason = Annotated[str | None, Query(max_length=LONGEST_REASON, description="why; the history keeps it")]


class NewValue(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    value: StrictBool | StrictInt | StrictFloat | StrictStr
    collection: str = Field("", min_length=1, max_length=LONGEST_NAME, description="for this collection alone")
    reason: str | None = Field(None, max_length=LONGEST_REASON, description="why; it is shown with the value")


@router.get("", responses=shapes.listing(shapes.Setting))
def config(request: Request, collection: OfCollection = "") -> Response:
    """The settings and their values in force, and where each comes from."""
    return listed(request, _in_force(request, collection), None)


@router.put("/{name}", responses=shapes.one(shapes.Setting))
def set_config(request: Request, name: Name, body: Annotated[NewValue, Body()]) -> Response:
    """Set a value for the tenant, or for one of its collections; in force within two seconds."""
    place = _own(request, name, body.collection)
    storage_of(request).config.set(place, name, body.value, body.reason)
    return _answered(request, name, body.collection)


@router.delete("/{name}", responses=shapes.one(shapes.Setting))
def unset_config(request: Request, name: Name, collection: OfCollection = "", reason: Reason = None) -> Response:
    """Take a value away; what is set less narrowly is in force then."""
    place = _own(request, name, collection)
    storage_of(request).config.unset(place, name, reason)
    return _answered(request, name, collection)


@router.get("/{name}/history", responses=shapes.listing(shapes.SettingVersion))
def config_history(
    request: Request, name: Name, collection: OfCollection = "", limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """What a setting was for the tenant, or for one of its collections; newest first."""
    place = _place(request, collection)
    before = (position_of(cursor, (int,)) or [None])[0]
    found = storage_of(request).config.history(place, name, limit + 1, before)
    following = (found[limit - 1].number,) if len(found) > limit else None
    return listed(request, [version_of(each) for each in found[:limit]], following)


def _place(request: Request, collection: str) -> Place:
    """Raises Misconfigured when the tenant has no such collection."""
    place = request.state.caller.tenant, collection
    definition_of(storage_of(request), place)
    return place


def _own(request: Request, name: str, collection: str) -> Place:
    if not setting(name).tenants:
        raise HttpError(
            "{name} is set by whoever runs the service",
            "Ask them for it: collect config set {name} VALUE --tenant {tenant}",
            status=403,
            code="COL-0817",
            name=name,
            tenant=request.state.caller.tenant,
        )
    return _place(request, collection)


def _in_force(request: Request, collection: str) -> list[dict[str, Any]]:
    """Who set what is in force for all tenants, and why, is not told to one of them."""
    place = request.state.caller.tenant, collection
    found = in_force(storage_of(request), request.app.state.service, *place)
    secret = dict.fromkeys(("set_by", "reason"))
    return [each | secret if each["origin"] == "global" else each for each in found]


def _answered(request: Request, name: str, collection: str) -> Response:
    return answer(request, next(each for each in _in_force(request, collection) if each["name"] == name))
