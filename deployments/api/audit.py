"""Who did what, of the caller's own tenant."""

from fastapi import APIRouter, Request, Response

from blocks.reports import moment
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.runs import storage_of

router = APIRouter(prefix="/api", tags=["audit"], route_class=Guarded)
SHOWN = ("number", "at", "actor", "action", "subject", "details", "seal")


@router.get("/audit", responses=shapes.listing(shapes.Entry))
def audit(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Who did what to what is the caller's tenant's, newest first."""
    (before,) = position_of(cursor, (int,)) or (None,)
    found = storage_of(request).audit.entries(request.state.caller.tenant, limit + 1, before)
    items = [{name: each[name] for name in SHOWN} | {"at": moment(each["at"])} for each in found[:limit]]
    return listed(request, items, (items[-1]["number"],) if len(found) > limit else None)
