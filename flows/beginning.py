"""How a flow run comes by its run: it goes on with one, begins one, or leaves it to others."""

from typing import NamedTuple

from prefect.context import FlowRunContext

from blocks.acting import PREFECT, acting
from blocks.process import this_process
from blocks.settings import Settings
from blocks.sql.run_rows import new_run_id
from blocks.sql.ticks import Outcome
from blocks.stores import Storage, open_storage
from collectors.errors import Misconfigured
from collectors.models import Collection, Mode, Scope
from collectors.registry import load
from collectors.scheduling import micros
from collectors.validating import of_mode


class Begun(NamedTuple):
    """The run, and whether it begins here; if not, what became of it, in a word, and why."""

    run_id: str | None
    here: bool = True
    name: str = ""
    why: str = ""


def carried_out_before(flow_run_id: str) -> str | None:
    """The run of a flow run that Prefect starts once more: by its Retry or Resume, or since its process died."""
    with open_storage(Settings.load()) as storage:
        row = storage.flow_runs.carried_out_by(flow_run_id)
    return row and row["run_id"]


def begin(tenant: str, name: str, mode: Mode, scope: Scope, schedule: str | None = None) -> Begun:
    """Raises Refused when another run is in the way and the collection's policy is to say so; Misconfigured."""
    settings = Settings.load()
    with acting(PREFECT), open_storage(settings) as storage:
        if schedule:
            return _due(storage, tenant, name, schedule)
        if (definition := storage.registry.definition(tenant, name)) is None:
            raise _not_here(name, settings)
        load(definition.collector)
        return _begun(storage, of_mode(definition, mode, scope))


def _begun(storage: Storage, definition: Collection) -> Begun:
    if definition.triggers.overlap not in ("queue", "replace"):
        return Begun(storage.catalog.begin(definition, this_process()).run_id)
    found = storage.requests.accept(definition, new_run_id(), owner=this_process())
    return Begun(found.run_id, found.held, "Queued", f"run {found.run_id} begins after the one under way")


def _due(storage: Storage, tenant: str, name: str, schedule: str) -> Begun:
    """By Prefect's scheduler: others may have noticed the same time before."""
    at = FlowRunContext.get().flow_run.expected_start_time
    found = storage.ticks.notice(tenant, name, schedule, micros(at), this_process())
    if found.outcome is Outcome.RUN:
        why = f"run {found.run_id} of this time waits for the one under way, or is carried out elsewhere"
        return Begun(found.run_id, found.held, "Queued", why)
    return Begun(None, False, found.outcome.capitalize(), found.reason or "")


def _not_here(name: str, settings: Settings) -> Misconfigured:
    return Misconfigured(
        "there is no collection {name} in {place}",
        "Collect it once: collect run FILE; or let this process find the right stores, by COLLECT_HOME or "
        "collect storage mirror",
        code="COL-0268",
        name=name,
        place=settings.home if settings.origin == "embedded" else settings.origin,
    )
