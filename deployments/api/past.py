"""What was: the versions of a record, and what became of all of them between two moments."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from collectors.models import KINDS, LONGEST_NAME, Kind
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, answer, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.runs import storage_of
from deployments.api.testcases import meant, no_record
from deployments.moments import in_order, moment_of, past_of, told, versions_of

router = APIRouter(prefix="/api/collections/{name}", tags=["history"], route_class=Guarded)
Name = Annotated[str, Path(max_length=LONGEST_NAME)]
A_MOMENT = "a run, as it left the collection, or a time with its zone"
Since = Annotated[str, Query(alias="from", max_length=60, description=A_MOMENT)]
Until = Annotated[str | None, Query(max_length=60, description=f"{A_MOMENT}; now when left out")]


@router.get("/history/{kind}/{id:anything}", responses=shapes.one(shapes.History))
def history(
    request: Request, name: Name, kind: Kind, id: Annotated[str, Path(min_length=1, max_length=255)]
) -> Response:
    """What a record was: each version that was replaced, and the present one, oldest first."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    found = past_of(storage, tenant, *meant(storage, tenant, name)).history(kind, id)
    if not found:
        raise no_record(id)
    return answer(request, {"collection": name, "versions": versions_of(found)})


@router.get("/diff", responses=shapes.listing(shapes.Difference, 409))
def diff(
    request: Request,
    name: Name,
    from_: Since,
    to: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """What was added, changed, moved and deleted between the ends of two runs, or between two times."""
    last = position_of(cursor, (str, str), lambda position: position[0] in KINDS) or ["", ""]
    storage, tenant = storage_of(request), request.state.caller.tenant
    past = past_of(storage, tenant, *meant(storage, tenant, name))
    before, after = moment_of(past, from_), moment_of(past, to) if to else past.now()
    in_order(before, after)
    found = list(islice(past.differences(before, after, (last[0], last[1])), limit + 1))
    following = (found[limit - 1].kind, found[limit - 1].id) if len(found) > limit else None
    return listed(request, [told(each) for each in found[:limit]], following)
