"""The steps that show a run in Prefect: how far it is, and what it did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from anyio import to_thread
from httpx import HTTPError
from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from blocks.reports import Report, in_words, report, shards_of
from blocks.workspace import Workspace, workspace
from collectors.errors import Unreachable

SECONDS_BETWEEN_UPDATES = 5.0


@asynccontextmanager
async def progress_shown(here: Workspace) -> AsyncIterator[None]:
    """Keeps a progress artifact up to date meanwhile."""
    # Made before anything else talks to Prefect: a server on SQLite answers calls at one time with a two-second delay.
    key = f"progress-{here.run_id}"
    artifact = await _tried(acreate_progress_artifact(0.0, key=key, description=here.collection.name))
    showing = asyncio.create_task(_updates(here, artifact))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait({showing})
        await _update(here, artifact)


async def _updates(here: Workspace, artifact: UUID | None) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
        await _update(here, artifact)


async def _update(here: Workspace, artifact: UUID | None) -> None:
    if artifact:
        done = await to_thread.run_sync(report, here.storage.catalog, here.run_id)
        await _tried(aupdate_progress_artifact(artifact, done.percent))


@task(name="report", retries=0, cache_policy=NO_CACHE)
async def report_run(run_id: str) -> None:
    """Leave a summary artifact: counts, rate, slowest shards, quarantine by reason."""
    async with workspace(run_id) as here:
        done = await to_thread.run_sync(report, here.storage.catalog, run_id, True)
        text = summary(done, await to_thread.run_sync(shards_of, here.storage.catalog, run_id))
    await _tried(acreate_markdown_artifact(text, key=f"summary-{run_id}", description=f"What run {run_id} did"))


async def _tried(call: Awaitable[UUID]) -> UUID | None:
    """What Prefect shows is a mirror: that it cannot be drawn must not change how a run ends."""
    try:
        return await call
    except (HTTPError, Unreachable) as error:
        get_run_logger().warning("an artifact could not be written: %s", error)
        return None


def summary(done: Report, shards: list[dict[str, Any]]) -> str:
    counts = " | ".join(f"{count:,}" for count in done.records.values())
    slowest = sorted(shards, key=lambda shard: shard["seconds"], reverse=True)[:5]
    return "\n".join(
        [
            f"# {done.collection}: {done.state}",
            "",
            f"{done.records['fetched']:,} records in {done.seconds:.1f} s, {done.rate:,.0f} a second.",
            f"From the arrival of a page to all stores: {in_words(done.delays)}.",
            *([f"\n**{done.error}**"] if done.error else []),
            *(f"\n{notice}" for notice in done.notices if notice != done.error),
            "",
            "| " + " | ".join(done.records) + " |",
            "|" + "---:|" * len(done.records),
            f"| {counts} |",
            "",
            "## Slowest shards",
            *(
                f"- {each['range']}: {each['seconds']:.1f} s, {each['progress']['current']:,} records"
                for each in slowest
            ),
            *(["", "## Quarantine"] if done.reasons else []),
            *(f"- {reason}: {count:,}" for reason, count in done.reasons.items()),
        ]
    )
