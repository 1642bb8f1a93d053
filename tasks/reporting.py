"""The steps that show a run in Prefect: how far it is, and what it did."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from blocks.reports import Report, report
from blocks.workspace import Workspace, workspace

SECONDS_BETWEEN_UPDATES = 5.0


@asynccontextmanager
async def progress_shown(here: Workspace) -> AsyncIterator[None]:
    """Keeps a progress artifact up to date meanwhile."""
    # Made before anything else talks to Prefect: a server on SQLite answers calls at one time with a two-second delay.
    artifact = await acreate_progress_artifact(0.0, key=f"progress-{here.run_id}", description=here.collection.name)
    showing = asyncio.create_task(_update(here, artifact))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        await aupdate_progress_artifact(artifact, report(here.storage.catalog, here.run_id).percent)


async def _update(here: Workspace, artifact: UUID) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
        await aupdate_progress_artifact(artifact, report(here.storage.catalog, here.run_id).percent)


@task(name="report", retries=0, cache_policy=NO_CACHE)
async def report_run(run_id: str) -> None:
    """Leave a summary artifact: counts, rate, slowest shards, quarantine by reason."""
    async with workspace(run_id) as here:
        text = summary(report(here.storage.catalog, run_id))
    await acreate_markdown_artifact(text, key=f"summary-{run_id}", description=f"What run {run_id} did")


def summary(done: Report) -> str:
    counts = " | ".join(f"{count:,}" for count in done.records.values())
    slowest = sorted(done.shards, key=lambda shard: shard.seconds, reverse=True)[:5]
    return "\n".join(
        [
            f"# {done.collection}: {done.state}",
            "",
            f"{done.records['fetched']:,} records in {done.seconds:.1f} s, {done.rate:,.0f} a second.",
            *([f"\n**{done.error}**"] if done.error else []),
            "",
            "| " + " | ".join(done.records) + " |",
            "|" + "---:|" * len(done.records),
            f"| {counts} |",
            "",
            "## Slowest shards",
            *(f"- {shard.label}: {shard.seconds:.1f} s, {shard.fetched:,} records" for shard in slowest),
            *(["", "## Quarantine"] if done.reasons else []),
            *(f"- {reason}: {count:,}" for reason, count in done.reasons.items()),
        ]
    )
