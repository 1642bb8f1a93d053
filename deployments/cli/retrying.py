"""`retry`: what failed in a run is done over, or some of its shards, or all of it."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.settings import Settings
from blocks.sql.control import Scope
from blocks.sql.database import LONGEST_OUTAGE
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from collectors.models import Collection
from deployments.cli.output import say
from deployments.cli.running import follow, server, wait_for_lease
from deployments.retries import policy_of


def retry(
    run_id: str,
    /,
    *shards: str,
    scope: Scope | None = None,
    max_retries: Annotated[int | None, Parameter(validator=Number(gte=0, lte=99))] = None,
    interval: Annotated[float | None, Parameter(validator=Number(gt=0, lte=3600))] = None,
    backoff: Literal["fixed", "exponential"] | None = None,
    json: bool = False,
) -> int:
    """Do over what failed in a run, some of its shards, or all of it. Failed shards go on from their checkpoints.

    Examples
        $ collect retry RUN
        $ collect retry RUN s02 --max-retries 2 --interval 10
        $ collect retry RUN --scope all --json

    Parameters
    ----------
    run_id
        the run, as collect status shows it
    shards
        only these, as collect shards shows them; what was complete is read anew
    scope
        failed: what failed; all: everything, read anew; specific: the shards that are named
    max_retries
        how often a shard that fails again is tried once more, instead of what its collection says
    interval
        seconds before it is
    backoff
        whether that pause stays or is doubled each time
    json
        print the result as one JSON object
    """
    scope = scope or ("specific" if shards else "failed")
    if bool(shards) != (scope == "specific"):
        raise Misconfigured(
            "shards are named for the scope specific, and only for that",
            "Name them, or leave them out: collect retry {run} --scope {scope}",
            code="COL-0278",
            run=run_id,
            scope="failed",
        )
    settings = Settings.load()
    with open_storage(settings, LONGEST_OUTAGE) as storage:
        catalog = storage.catalog
        own = Collection.model_validate_json(catalog.run(run_id)["definition"]).strategy.shard_retry
        policy = policy_of(own, max_retries, interval, backoff)
        wait_for_lease(catalog, run_id)
        api = server(settings)
        again = storage.control.retry(run_id, scope, shards, policy)
        if scope == "all" or not again:
            say("run {run} is planned and read anew", run=run_id)
        else:
            say("{count} shards of run {run} are done over", count=len(again), run=run_id)
        return follow(catalog, run_id, run_id, api, json)
