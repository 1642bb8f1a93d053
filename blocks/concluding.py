"""What a run may conclude that has read and loaded all it was about: what is gone, and when it is complete up to."""

from collections.abc import Sequence
from typing import Any

from anyio import to_thread

from blocks.past import Past
from blocks.surveying import of_another_source
from blocks.workspace import Workspace
from collectors.closing import Closing, Outcome, let_in_nowhere, outcome, refuse_moved, repair_paths
from collectors.errors import CollectError, Refused
from collectors.interfaces import Counting, Selective
from collectors.models import IMPORT, Collection
from collectors.notices import (
    left_empty,
    left_uncertain,
    left_unlisted,
    not_looked_through,
    not_tidied,
    regressed,
    set_meanwhile,
    undated,
)
from collectors.quality import Finding, of_counts
from collectors.selecting import DIRECTORIES
from collectors.states import RunState, ShardState
from collectors.sweeping import Sweep, Swept, finish_tombstones, swept


async def concluded(here: Workspace, loaded: bool) -> Outcome:
    """How the run ends, of which everything that was read is `loaded` or not. May be repeated.

    Paths, tombstones and the watermark are left for later when it is only paused.
    """
    catalog, collection = here.storage.catalog, here.collection
    shards = await to_thread.run_sync(catalog.shards, here.run_id)
    end = outcome(
        here.run_id,
        [(ShardState(shard["state"]), shard["error"]) for shard in shards],
        read=sum(shard["fetched"] for shard in shards),
        quarantined=sum(shard["quarantined"] for shard in shards),
        strategy=collection.strategy,
        loaded=loaded,
        errors=await to_thread.run_sync(catalog.errors, here.run_id),
        shut_out=let_in_nowhere(shards),
    )
    if end.state is RunState.PAUSED:
        return end
    row = await to_thread.run_sync(catalog.run, here.run_id)
    await to_thread.run_sync(_make_whole, here, row)
    closing = await _closing(here, row, shards, end)
    closing = await _looked_through(here, closing)
    if end.state is not RunState.FAILED:
        closing = await _tidied(here, row, shards, closing)
    await to_thread.run_sync(catalog.note_closing, here.run_id, closing)
    return closing.ended(end)


def _make_whole(here: Workspace, row: dict[str, Any]) -> None:
    """Put right what is not as its row says, also what an earlier end left half done."""
    storage, collection = here.storage, here.collection
    finish_tombstones(_sweep_of(collection, row), storage.sweeps, storage.documents, storage.cache)
    repair_paths(storage.rows, storage.documents, storage.cache, collection.tenant, collection.name)


def _sweep_of(collection: Collection, row: dict[str, Any]) -> Sweep:
    return Sweep(collection.tenant, collection.name, row["run_id"], row["sweep"], row["epoch"] or 0)


async def _looked_through(here: Workspace, closing: Closing) -> Closing:
    """All is stored by now: what cannot be looked at is said, and no reason to do anything again."""
    for look in (_findings, _miscounted):
        try:
            closing = closing.and_also(findings=await look(here))
        except CollectError as why:
            closing = closing.and_also(notices=[not_looked_through(why)])
    return closing


async def _tidied(here: Workspace, row: dict[str, Any], shards: Sequence[dict[str, Any]], closing: Closing) -> Closing:
    """What was is kept, and what is old is forgotten; where that fails, the next run does it."""
    collection, storage = here.collection, here.storage
    past = Past(storage, collection.tenant, collection.name, collection.retention)
    try:
        await to_thread.run_sync(past.keep, here.run_id)
        if _met_all_pages(collection, shards):
            await to_thread.run_sync(storage.pages.forget, collection.tenant, collection.name, row["sweep"])
    except CollectError as why:
        return closing.and_also(notices=[not_tidied(why)])
    return closing


def _met_all_pages(collection: Collection, shards: Sequence[dict[str, Any]]) -> bool:
    """Whether a known page that was not met is one that nobody asks for any more."""
    read = collection.mode == "full" and collection.strategy.skip_unchanged  # else none was looked at
    return read and all(shard["state"] == ShardState.COMPLETED for shard in shards)


async def _closing(here: Workspace, row: dict[str, Any], shards: Sequence[dict[str, Any]], end: Outcome) -> Closing:
    notices = regressed(here.collection, await to_thread.run_sync(here.storage.catalog.applied, here.run_id))
    if end.state is RunState.FAILED or any(shard["state"] != ShardState.COMPLETED for shard in shards):
        return Closing(notices=notices)
    try:
        refuse_moved(shard["label"] for shard in shards if shard["moved"])
        unmoved = await _move_watermark(here, row)
        gone = await _swept(here, row)
        said = (*notices, *unmoved, *_empty(here, shards), *left_uncertain(gone.missing), *left_unlisted(gone.there))
        return Closing(deleted=gone.deleted, notices=said)
    except Refused as why:
        return Closing(notices=(*notices, str(why)), refused=str(why))


def _empty(here: Workspace, shards: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    cases = sum(shard["fetched"] for shard in shards if shard["stage"] != DIRECTORIES)
    return left_empty(here.collection, cases)


async def _findings(here: Workspace) -> list[Finding]:
    return await to_thread.run_sync(here.storage.quality.findings, here.collection.tenant, here.collection.name)


async def _miscounted(here: Workspace) -> list[Finding]:
    collection = here.collection
    if collection.mode != "full" or not isinstance(here.collector, Counting):
        return []
    stored = await to_thread.run_sync(here.storage.rows.cases_by_directory, collection.tenant, collection.name)
    return of_counts(await here.collector.counts(), stored)


async def _move_watermark(here: Workspace, row: dict[str, Any]) -> tuple[str, ...]:
    """What is to be said where it cannot be moved."""
    collection = here.collection
    if collection.mode == "range":
        return ()
    if row["source_time"] is None:
        return (undated(),) if isinstance(here.collector, Selective) else ()
    key, marks = (collection.tenant, collection.name), here.storage.watermarks
    mark = await to_thread.run_sync(marks.of, *key)
    instead_of = mark.moved_by if of_another_source(collection, mark) else None
    moved = await to_thread.run_sync(marks.advance, *key, row["source_time"], here.run_id, instead_of)
    return () if moved else (set_meanwhile(),)


async def _swept(here: Workspace, row: dict[str, Any]) -> Swept:
    collection, storage = here.collection, here.storage
    if collection.mode != "full" or collection.collector == IMPORT:
        return Swept(0, 0)
    stores, guard = (storage.sweeps, storage.documents, storage.cache), collection.strategy.shrink_guard
    return await swept(_sweep_of(collection, row), *stores, here.collector, guard)
