"""`plan`: how a run would be cut."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from collectors import planning
from collectors.language import spoken
from collectors.models import Collection, ShardPlan, Stage
from deployments.asking import source_of
from deployments.cli.asking import command
from deployments.cli.output import duration, print_json, print_rows, say, show_warnings
from deployments.definitions import looked_up


def plan(
    collection: str,
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Ask the source how much there is and show how a run would be cut; nothing is stored.

    Examples
        $ collect plan demo
        $ collect plan tests.yaml --set strategy.shard_size=2000
        $ collect plan demo --json

    Parameters
    ----------
    collection
        path of a collection file, or a name from collect list
    set_
        override a key of the definition, such as strategy.shard_size=2000
    tenant
        whose collection, when it is called by its name
    json
        print one JSON object
    """
    definition = looked_up(collection, set_, tenant)
    show_warnings()
    began = time.perf_counter()
    stages = asyncio.run(_surveyed(definition))
    seconds = time.perf_counter() - began
    rows = [_shard(shard, definition.strategy.page_size) for shard in planning.plan(stages, definition.strategy)]
    if json:
        print_json(_plan(definition, stages, rows, seconds))
        return 0
    columns = {"SHARD": "shard_id", "RANGE": "range", "RECORDS": "estimate", "REQUESTS": "requests"}
    print_rows(rows, columns)
    for text in _said(definition, rows, seconds, command("run", collection, set_, definition, tenant)):
        say(text)
    return 0


async def _surveyed(definition: Collection) -> Sequence[Stage]:
    async with source_of(definition) as (collector, _):
        return await collector.survey()


def _shard(shard: ShardPlan, page_size: int) -> dict[str, Any]:
    return {
        "shard_id": shard.shard_id,
        "stage": shard.stage,
        "range": shard.label,
        "estimate": shard.estimate,
        "requests": max(1, math.ceil(shard.estimate / page_size)),
    }


def _said(definition: Collection, rows: list[dict[str, Any]], seconds: float, following: str) -> list[str]:
    limits = _limits(definition)
    return [
        spoken(
            "{shards} shards, about {records} records, at least {requests} requests; counted in {took}",
            shards=f"{len(rows):,}",
            records=f"{sum(row['estimate'] for row in rows):,}",
            requests=f"{sum(row['requests'] for row in rows):,}",
            took=duration(seconds),
        ),
        spoken("limits: {concurrency} shards side by side, {page_size} records a request", **limits),
        spoken(
            "limits: {attempts} tries of a request, pauses of {initial:g} to {maximum:g} s between them,"
            " {timeout:g} s for an answer",
            **limits,
        ),
        spoken("nothing was stored; collect it: {command}", command=following),
    ]


def _limits(definition: Collection) -> dict[str, Any]:
    strategy = definition.strategy
    return {
        "concurrency": strategy.concurrency,
        "page_size": strategy.page_size,
        "timeout": strategy.timeout,
        **strategy.retry.model_dump(),
    }


def _plan(
    definition: Collection, stages: Sequence[Stage], rows: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    return {
        "collection": definition.name,
        "mode": definition.mode,
        "source": definition.source.get("base_url"),
        "stages": [{"stage": stage.name, "estimate": stage.total} for stage in stages],
        "shards": rows,
        "estimate": sum(row["estimate"] for row in rows),
        "requests": sum(row["requests"] for row in rows),
        "limits": _limits(definition),
        "seconds": round(seconds, 3),
    }
