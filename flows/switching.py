"""Switches of schedules, here and in Prefect's page: whoever has changed one since both agreed is followed."""

from collections.abc import Mapping

from anyio import to_thread
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

from blocks.acting import PREFECT, acting
from blocks.sql.schedules import Switch
from blocks.stores import Storage

IN_PREFECT = "switched in Prefect"
Of = tuple[str, str]  # tenant and collection


async def adopt(storage: Storage, client: PrefectClient, of: Of, theirs: DeploymentResponse) -> None:
    """What was pressed in Prefect is so here. Looked at twice: who told Prefect meanwhile has pressed nothing."""
    if await _pressed(storage, of, theirs):
        theirs = await client.read_deployment(theirs.id)
    for slug, on in (await _pressed(storage, of, theirs)).items():
        with acting(PREFECT):
            await to_thread.run_sync(storage.schedules.switch, *of, slug, on, IN_PREFECT)
        await to_thread.run_sync(storage.schedules.note_told, *of, slug, on)


async def _pressed(storage: Storage, of: Of, theirs: DeploymentResponse) -> dict[str, bool]:
    switches = await to_thread.run_sync(storage.schedules.switches, *of)
    looked = {each.slug: _is_on(each, theirs) for each in theirs.schedules if each.slug in switches}
    return {slug: on for slug, on in looked.items() if switches[slug].told not in (None, on)}


async def tell(
    storage: Storage, client: PrefectClient, of: Of, switches: Mapping[str, Switch], theirs: DeploymentResponse
) -> None:
    """Prefect what was switched here: all of them, since of a deployment that was paused as a whole each has kept a
    switch of its own."""
    known = [each for each in theirs.schedules if each.slug in switches]
    if all(switches[each.slug].active == switches[each.slug].told for each in known):
        return
    for each in known:
        await client.update_deployment_schedule(theirs.id, each.id, active=switches[each.slug].active)
        await to_thread.run_sync(storage.schedules.note_told, *of, each.slug, switches[each.slug].active)
    if theirs.paused and any(switches[each.slug].active for each in known):
        await client.resume_deployment(theirs.id)


def _is_on(schedule: DeploymentSchedule, of: DeploymentResponse) -> bool:
    return schedule.active and not of.paused
