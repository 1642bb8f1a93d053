"""Collections and their runs: started, and watched."""

import hashlib
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.reports import refused_of, report, run_of, shards_of, status_of
from blocks.sql.requests import Accepted, Once
from blocks.sql.run_rows import new_run_id
from blocks.stores import Storage
from collectors.language import spoken
from collectors.models import EVERYTHING, LONGEST_NAME, Collection, Mode, Scope
from collectors.outbound import BaseUrl
from collectors.registry import load
from collectors.states import RunState
from collectors.validating import of_mode
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, answer, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.problems import HttpError
from deployments.api.watching import Watch
from deployments.definitions import known, known_all

Key = Annotated[str | None, Header(min_length=1, max_length=255, description="the same request is carried out once")]
REFUSED_AT = ("created_at", "run_id", "shard_id", "page", "position")
RunId = Annotated[str, Path(max_length=32)]

router = APIRouter(prefix="/api", tags=["runs"], route_class=Guarded)


class Start(BaseModel):
    """How a run is to be made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"mode": "full"}]})

    mode: Mode = Field("full", description="what to read: everything, what changed since the watermark, or the scope")
    scope: Scope = Field(EVERYTHING, description="what a run of mode range is about; for that alone")
    base_url: BaseUrl | None = Field(
        None, max_length=2_000, description="the source's address for this run; one that COLLECT_ALLOWED_SOURCES names"
    )


AS_IT_IS = Start()


@router.get("/collections", responses=shapes.listing(shapes.CollectionShape))
def collections(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The known collections, by name."""
    after = (position_of(cursor, (str,)) or [""])[0]
    found = known_all(storage_of(request).registry, request.state.caller.tenant)
    items = [
        {"name": each.name, "collector": each.collector, "mode": each.mode, "source": each.source.get("base_url")}
        for each in found
        if each.name > after
    ]
    return listed(request, items[:limit], (items[limit - 1]["name"],) if len(items) > limit else None)


@router.post("/collections/{name}/runs", status_code=202, responses=shapes.accepting(413))
def start_run(
    request: Request,
    name: Annotated[str, Path(max_length=LONGEST_NAME)],
    body: Annotated[Start, Body()] = AS_IT_IS,
    idempotency_key: Key = None,
) -> Response:
    """Ask for a run of a collection. It is kept until somebody carries it out, whatever happens meanwhile.

    409 names the run that is under way.
    """
    storage, tenant = storage_of(request), request.state.caller.tenant
    registered = known(name, storage.registry, tenant)
    load(registered.collector)
    definition = _of_this_run(registered, body, request.app.state.service.allowed_sources)
    once = once_of(idempotency_key, "run", name, body.model_dump_json())
    done = storage.requests.accept(definition, new_run_id(), registered, once)
    return accepted(request, done, name)


def _of_this_run(registered: Collection, body: Start, allowed: tuple[str, ...]) -> Collection:
    source = registered.source
    if body.base_url is not None:
        refuse_address(body.base_url, allowed)
        source = source | {"base_url": body.base_url}
    return of_mode(registered.model_copy(update={"source": source}), body.mode, body.scope)


def refuse_address(address: str, allowed: tuple[str, ...]) -> None:
    if not _is_allowed(address, allowed):
        raise HttpError(
            "{address} is not on the list of addresses that may be collected",
            "Whoever runs the service names them in COLLECT_ALLOWED_SOURCES.",
            status=422,
            code="COL-0807",
            address=f"{address:.100}",
        )


def _is_allowed(address: str, allowed: tuple[str, ...]) -> bool:
    try:
        return _origin(address) in map(_origin, allowed)
    except ValueError:  # it is no address
        return False


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


@router.get("/runs", responses=shapes.listing(shapes.Run))
def runs(
    request: Request,
    collection: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
    state: RunState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Runs, newest first."""
    found = position_of(cursor, (int, str), lambda position: position[0] >= 0)
    tenant = request.state.caller.tenant
    rows = storage_of(request).catalog.runs(tenant, collection, limit + 1, state, found and (found[0], found[1]))
    last = (rows[limit - 1]["created_at"], rows[limit - 1]["run_id"]) if len(rows) > limit else None
    return listed(request, [run_of(row) for row in rows[:limit]], last)


@router.get("/task/{run}/status", responses=shapes.one(shapes.Status))
def status(request: Request, run: RunId) -> Response:
    """How far a run is."""
    catalog = storage_of(request).catalog
    row = catalog.run(run, request.state.caller.tenant)
    return answer(request, status_of(catalog, row, report(catalog, run)))


@router.get("/task/{run}/shards", responses=shapes.one(shapes.Shards))
def shards(request: Request, run: RunId) -> Response:
    """The shards of a run, in the order of its plan."""
    catalog = storage_of(request).catalog
    catalog.run(run, request.state.caller.tenant)
    return answer(request, {"run_id": run, "shards": shards_of(catalog, run)})


@router.get("/quarantine", responses=shapes.listing(shapes.Refusal))
def quarantine(
    request: Request,
    run: Annotated[str | None, Query(max_length=32, description="only what this run refused")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Records that were refused, each with its reason and what was sent; newest first."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    if run is not None:
        storage.catalog.run(run, tenant)
    found = storage.quarantine.records(run, limit + 1, tenant, position_of(cursor, (int, str, str, int, int)))
    last = [found[limit - 1][name] for name in REFUSED_AT] if len(found) > limit else None
    return listed(request, [refused_of(each) for each in found[:limit]], last)


def accepted(request: Request, done: Accepted, collection: str, **facts: Any) -> Response:
    """202: where to look, and what it waits for if that is known already."""
    told = {"run_id": done.run_id, "collection": collection, "status": f"/api/task/{done.run_id}/status"}
    body = orjson.dumps(told | facts | {"repeated": done.repeated, "waiting_for": prefect_missing(request)})
    return Response(body, 202, {"Location": told["status"]}, "application/json")


def prefect_missing(request: Request) -> str | None:
    """What whatever Prefect carries waits for, while it does not answer."""
    watch: Watch = request.app.state.watch
    return None if watch.prefect_answers else spoken("Prefect, which does not answer; the run is kept meanwhile")


def once_of(key: str | None, *request: Any) -> Once | None:
    return Once(key, hashlib.sha256(repr(request).encode()).hexdigest()) if key else None


def storage_of(request: Request) -> Storage:
    return request.app.state.storage
