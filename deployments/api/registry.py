"""Definitions over HTTP: what is in force, put in force, taken back; and the switches of schedules."""

import re
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from blocks.reports import moment
from blocks.sql.registry import Changed, not_registered
from blocks.stores import Storage
from collectors.models import LONGEST_NAME, Collection
from collectors.registry import REFERENCE
from collectors.validating import validated
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, answer, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.problems import HttpError
from deployments.api.runs import refuse_address, storage_of
from deployments.registering import (
    Registration,
    checked,
    difference,
    differences_of,
    planned,
    reached,
    version_among,
    without_secrets,
)
from deployments.schedules import told as told_of_schedule

SECRETS = "COLLECT_SECRET_"  # begins the variables that definitions may refer to that are sent
OWN = ("name", "tenant")  # the address says the one, and the key the other
router = APIRouter(prefix="/api/collections/{name}", tags=["registry"], route_class=Guarded)
Name = Annotated[str, Path(max_length=LONGEST_NAME, pattern=r"^[^\s/\\:]+$")]
Slug = Annotated[str, Path(max_length=64)]
Tag = Annotated[str | None, Header(max_length=100, description="the ETag of what it is to follow")]
Definition = create_model(
    "Definition",
    __config__=ConfigDict(extra="forbid"),
    **{key: (field.annotation, field) for key, field in Collection.model_fields.items() if key not in OWN},
)


class Version(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2}]})

    version: int = Field(ge=1, le=2**31 - 1, description="the one to be put in force again, as a new version")


class Switch(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the source is moved"}]})

    reason: str | None = Field(None, max_length=1_000, description="why; it is shown with the schedule")


ANYWAY = Switch()


@router.get("", responses=shapes.one(shapes.Registered))
def definition(request: Request, name: Name) -> Response:
    """What is registered: the definition in force, its version (the ETag), and its schedules."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    version, found = _in_force(storage, tenant, name)
    row = storage.registry.registration(tenant, name)
    told = {"name": name, "version": version, "definition": _as_sent(found), "waits": row and row["failed"]}
    schedules = [told_of_schedule(each) for each in storage.schedules.of(tenant, name)]
    return _tagged(told | {"schedules": schedules}, version)


@router.put("", responses=shapes.one(shapes.Registration, 409, 412))
async def register(
    request: Request,
    name: Name,
    body: Annotated[Definition, Body()],
    if_match: Tag = None,
    if_none_match: Tag = None,
    dry_run: Annotated[bool, Query(description="only tell what would change")] = False,
    offline: Annotated[bool, Query(description="do not ask the source")] = False,
) -> Response:
    """Put a definition in force. 412 with the differences when somebody else has changed it since `If-Match`; with
    `If-None-Match: *` it has to be new. Its schedules are carried out by the service."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    sent = body.model_dump(exclude_unset=True) | {"name": name, "tenant": tenant}
    meant = validated(Collection, sent, "")
    _refuse_what_is_not_theirs(meant, request.app.state.service.allowed_sources)
    await to_thread.run_sync(checked, meant, offline)
    expected = _expected(if_match, if_none_match)
    if if_match == "*":
        await to_thread.run_sync(_in_force, storage, tenant, name)
    if dry_run:
        return await to_thread.run_sync(_planned, storage, meant, expected)
    if not offline:
        await reached(meant)
    return await to_thread.run_sync(_put, storage, meant, expected)


@router.delete("", responses=shapes.one(shapes.Registration, 412))
def unregister(request: Request, name: Name, if_match: Tag = None) -> Response:
    """Take a collection out of force. Its records, runs and versions stay. 412 when it was changed since `If-Match`."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    version, definition = _in_force(storage, tenant, name)
    try:
        storage.registry.unregister(tenant, name, _expected(if_match, None))
    except Changed as error:
        raise _changed(error, definition) from None
    return answer(request, {"name": name, "version": version, "differences": []})


@router.get("/versions", responses=shapes.listing(shapes.Version))
def versions(request: Request, name: Name, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """All versions of a definition, newest first."""
    (before,) = position_of(cursor, (int,)) or [2**31]
    rows = storage_of(request).registry.versions(request.state.caller.tenant, name)
    found = [row for row in rows if row["version"] < before]
    items = [
        {"version": row["version"], "created_at": moment(row["created_at"]), "created_by": row["created_by"]}
        | {"definition": _as_sent(row["definition"])}
        for row in found[:limit]
    ]
    return listed(request, items, (items[-1]["version"],) if len(found) > limit else None)


@router.post("/rollback", responses=shapes.one(shapes.Registration, 409, 412))
def rollback(request: Request, name: Name, body: Annotated[Version, Body()], if_match: Tag = None) -> Response:
    """Put an older version in force again, as a new one. 412 when it was changed since `If-Match`."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    _in_force(storage, tenant, name)
    found = version_among(storage.registry.versions(tenant, name), name, body.version)
    checked(found, offline=True)
    return _put(storage, found, _expected(if_match, None))


@router.get("/schedules", responses=shapes.one(shapes.Schedules))
def schedules(request: Request, name: Name) -> Response:
    """When it is due, and what became of the last time."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    _in_force(storage, tenant, name)
    found = [told_of_schedule(each) for each in storage.schedules.of(tenant, name)]
    return answer(request, {"name": name, "schedules": found})


@router.post("/schedules/{slug}/pause", responses=shapes.one(shapes.Schedules))
def pause_schedule(request: Request, name: Name, slug: Slug, body: Annotated[Switch, Body()] = ANYWAY) -> Response:
    """Switch a schedule off. What is due meanwhile is not made up for."""
    return _switched(request, name, slug, False, body.reason)


@router.post("/schedules/{slug}/resume", responses=shapes.one(shapes.Schedules))
def resume_schedule(request: Request, name: Name, slug: Slug, body: Annotated[Switch, Body()] = ANYWAY) -> Response:
    """Switch a schedule on."""
    return _switched(request, name, slug, True, None)


def _switched(request: Request, name: str, slug: str, active: bool, reason: str | None) -> Response:
    storage, tenant = storage_of(request), request.state.caller.tenant
    _in_force(storage, tenant, name)
    storage.schedules.switch(tenant, name, slug, active, reason)
    return schedules(request, name)


def _planned(storage: Storage, meant: Collection, expected: int | None) -> Response:
    try:
        return _answered(planned(storage, meant, expected))
    except Changed as error:
        raise _changed(error, meant) from None


def _put(storage: Storage, meant: Collection, expected: int | None) -> Response:
    try:
        done = storage.registry.register(meant, expected)
    except Changed as error:
        raise _changed(error, meant) from None
    return _answered(Registration(meant, done.version, tuple(differences_of(done.before, meant))))


def _answered(done: Registration) -> Response:
    told = [difference(each) for each in done.differences]
    return _tagged({"name": done.definition.name, "version": done.version, "differences": told}, done.version)


def _tagged(value: dict[str, Any], version: int) -> Response:
    headers = {"ETag": f'"{version}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept-Language"}
    return Response(orjson.dumps(value), 200, headers, "application/json")


def _expected(if_match: str | None, if_none_match: str | None) -> int | None:
    """The version it is to follow. Raises HttpError for a tag that is none of ours."""
    if if_none_match == "*":
        return 0
    if if_none_match is None and if_match in (None, "*"):
        return None
    if found := re.fullmatch(r'"(\d{1,9})"', if_match or ""):
        return int(found[1])
    raise HttpError(
        "{tag} is no ETag of a definition",
        'Send If-Match as GET answered it, such as "3"; or If-None-Match: * for a new one.',
        status=422,
        code="COL-0820",
        tag=f"{if_match or if_none_match!r:.60}",
    )


def _changed(error: Changed, meant: Collection) -> HttpError:
    """What stands against what was sent, by its keys."""
    found = [difference(each) for each in differences_of(error.theirs, meant)]
    answered = HttpError("{what}", "{remedy}", status=412, code=error.code, what=error.what, remedy=error.remedy)
    answered.headers = {"ETag": f'"{error.version}"'}
    answered.errors = [{"at": each["key"], "what": f"{each['before']} -> {each['after']}"} for each in found]
    return answered


def _refuse_what_is_not_theirs(meant: Collection, allowed: tuple[str, ...]) -> None:
    """Whoever has a key could have the service send what it knows to an address of their own."""
    if (address := meant.source.get("base_url")) is not None:  # without one it is refused as all others are
        refuse_address(str(address), allowed)
    begins = secrets_of_tenant(meant.tenant)
    for key, value in meant.source.items():
        if isinstance(value, str) and value.startswith(REFERENCE) and not value.startswith(REFERENCE + begins):
            raise HttpError(
                "source.{key} refers to a variable that is not for definitions that are sent",
                "Refer to one whose name begins with {begins}; whoever runs the service sets it.",
                status=422,
                code="COL-0821",
                key=key,
                begins=begins,
            )


def secrets_of_tenant(tenant: str) -> str:
    """How the variables begin that are a tenant's: no two tenants share a beginning, and none begins another's."""
    plain = re.fullmatch("[a-z0-9]+", tenant)
    return f"{SECRETS}{tenant.upper() if plain else '_' + tenant.encode().hex().upper()}_"


def _in_force(storage: Storage, tenant: str, name: str) -> tuple[int, Collection]:
    if found := storage.registry.in_force(tenant, name):
        return found
    raise not_registered(name)


def _as_sent(found: Collection) -> dict[str, Any]:
    return {key: value for key, value in without_secrets(found).items() if key not in OWN}
