"""What is registered, as deployments of Prefect: one of each collection and channel, with its schedules."""

import hashlib
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any

import orjson
from anyio import to_thread
from httpx import HTTPStatusError, TransportError
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.utilities.callables import parameter_schema

from blocks.sql.schedules import Switch
from blocks.stores import Storage
from collectors.language import spoken
from collectors.models import EVERYTHING, Collection, Mode, Scope
from collectors.scheduling import BEGINNING, Schedule
from flows.collect import collect, labels
from flows.prefect_states import asked, unanswered_by
from flows.switching import adopt, tell

CHANNEL = "stable"
ENTRYPOINT = "flows.collect.collect"
OURS = "platform-collect"  # the tag of every deployment that is made here
USUAL_TENANT = "default"
A_PAGE = 200
LONGEST_REASON = 300
Row = dict[str, Any]


async def apply(storage: Storage, pool: str, only: tuple[str, str] | None = None) -> None:
    """Have Prefect show what is registered, or `only` one (tenant, name), and have switches agree.

    What Prefect does not take is noted with its reason, and costs the others nothing. Raises Unreachable when it does
    not answer.
    """
    rows = await to_thread.run_sync(storage.registry.known_to_prefect)
    rows = [row for row in rows if only in (None, (row["tenant"], row["collection"]))]
    if not rows:
        return
    async with get_client() as client:
        theirs = await asked(_deployments(client))
        for row in rows:
            await _apply(storage, client, pool, row, theirs.get((row["tenant"], row["collection"])))


async def _deployments(client: PrefectClient) -> dict[Any, DeploymentResponse]:
    """By tenant and collection. The newest first: all of them have one name, and pages follow an order."""
    ours, found = DeploymentFilter(tags=DeploymentFilterTags(all_=[OURS])), []
    while True:
        page = {"limit": A_PAGE, "offset": len(found), "sort": DeploymentSort.CREATED_DESC}
        found += (some := await client.read_deployments(deployment_filter=ours, **page))
        if len(some) < A_PAGE:
            return {(each.parameters.get("tenant"), each.parameters.get("collection")): each for each in found}


async def _apply(
    storage: Storage, client: PrefectClient, pool: str, row: Row, theirs: DeploymentResponse | None
) -> None:
    of = row["tenant"], row["collection"]
    try:
        if row["retired_at"] is not None:
            digest = await _deleted(client, theirs)
        else:
            digest = await _deployed(storage, client, pool, row, theirs)
    except TransportError as error:
        raise unanswered_by(error) from None
    except (HTTPStatusError, PrefectException, ValueError) as error:
        why = spoken("Prefect does not take it: {why}", why=_why(error)[:LONGEST_REASON])
        await to_thread.run_sync(storage.registry.note_failed, *of, why)
        return
    if (digest, None) != (row["applied"], row["failed"]):
        await to_thread.run_sync(storage.registry.note_applied, *of, digest)


async def _deleted(client: PrefectClient, theirs: DeploymentResponse | None) -> None:
    if theirs:
        with suppress(ObjectNotFound):
            await client.delete_deployment(theirs.id)


async def _deployed(
    storage: Storage, client: PrefectClient, pool: str, row: Row, theirs: DeploymentResponse | None
) -> str | None:
    """The digest of what Prefect has now."""
    of = row["tenant"], row["collection"]
    found = await to_thread.run_sync(storage.registry.in_force, *of)
    if found is None:
        return row["applied"]
    version, definition = found
    if theirs:
        await adopt(storage, client, of, theirs)
    wanted = _wanted(version, definition, pool)
    digest = hashlib.sha256(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS)).hexdigest()
    switches = await to_thread.run_sync(storage.schedules.switches, *of)
    if theirs is None or digest != row["applied"] or _changed(definition, theirs):
        await _create(client, definition, wanted, switches)
        for slug, each in switches.items():
            await to_thread.run_sync(storage.schedules.note_told, *of, slug, each.active)
    else:
        await tell(storage, client, of, switches, theirs)
    return digest


def _wanted(version: int, definition: Collection, pool: str) -> dict[str, Any]:
    parameters = {"collection": definition.name, "tenant": definition.tenant}
    return {
        "version": str(version),
        "work_pool_name": pool,
        "entrypoint": ENTRYPOINT,
        "description": f"Collect {definition.name} ({definition.collector}).",
        "tags": [OURS, f"channel:{CHANNEL}", *labels(definition.name, definition.mode, definition.tenant)],
        "parameters": parameters | _about(definition.mode, definition.scope),
        "schedules": [each.model_dump(mode="json", exclude={"active"}) for each in definition.schedule],
    }


def _about(mode: Mode, scope: Scope) -> dict[str, Any]:
    return {"mode": mode} | ({} if scope == EVERYTHING else {"scope": scope.model_dump(mode="json", exclude_none=True)})


async def _create(
    client: PrefectClient, definition: Collection, wanted: dict[str, Any], switches: dict[str, Switch]
) -> None:
    """Made anew: what Prefect has scheduled by rules that are no more goes with them."""
    flow_id = await client.create_flow_from_name(flow_name(definition.tenant, definition.name))
    schedules = [
        DeploymentScheduleCreate(
            slug=each.slug,
            schedule=as_prefect_has_it(each),
            active=switches[each.slug].active,
            parameters={"schedule": each.slug} | _about(*definition.due_by(each)),
        )
        for each in definition.schedule
        if each.slug in switches
    ]
    schema = parameter_schema(collect).model_dump_for_openapi()
    given = wanted | {"schedules": schedules}
    await client.create_deployment(
        flow_id, CHANNEL, parameter_openapi_schema=schema, enforce_parameter_schema=True, paused=False, **given
    )


def flow_name(tenant: str, collection: str) -> str:
    return collection if tenant == USUAL_TENANT else f"{tenant}--{collection}"


def as_prefect_has_it(rule: Schedule) -> SCHEDULE_TYPES:
    if rule.interval is not None:
        beginning = BEGINNING.replace(tzinfo=UTC)
        return IntervalSchedule(interval=timedelta(seconds=rule.interval), anchor_date=beginning, timezone="UTC")
    if rule.rrule is not None:
        began = "" if "DTSTART" in rule.rrule else f"DTSTART:{BEGINNING:%Y%m%dT%H%M%S}\n"  # it would write that itself
        return RRuleSchedule(rrule=began + rule.rrule, timezone=rule.timezone)
    return CronSchedule(cron=rule.cron, timezone=rule.timezone)


def _changed(definition: Collection, theirs: DeploymentResponse) -> bool:
    """Whether somebody has changed rules in Prefect, where they are shown and not kept."""
    ours = {each.slug: as_prefect_has_it(each) for each in definition.schedule}
    return ours != {each.slug: each.schedule for each in theirs.schedules}


def _why(error: Exception) -> str:
    response = getattr(error, "response", None) or getattr(getattr(error, "http_exc", None), "response", None)
    try:
        return str(response.json()["detail"])
    except (AttributeError, ValueError, KeyError, TypeError):
        return f"{error}".partition("\n")[0]
