"""`ledger`: which batch of a run has come how far, and how long it took."""

from collections import Counter
from typing import Any

from blocks.reports import in_words, moment
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.language import spoken
from deployments.cli.choosing import Limit
from deployments.cli.output import duration, print_json, print_rows, say, show_field


def ledger(run_id: str, /, *, limit: Limit = 20, json: bool = False) -> int:
    """Show how far the batches of a run have come: published, rows, done; or refetched, when they were lost.

    Examples
        $ collect ledger RUN
        $ collect ledger RUN --json

    Parameters
    ----------
    run_id
        the run, as collect status shows it
    limit
        the most open batches to show, the oldest first
    json
        print an array of all batches
    """
    with open_storage(Settings.load()) as storage:
        storage.catalog.run(run_id)
        found = [_entry(each) for each in storage.ledger.entries(run_id)]
        delays = storage.catalog.delays(run_id)
    if json:
        print_json(found)
        return 0
    for stage, count in Counter(each["stage"] for each in found).items():
        records = sum(each["records"] for each in found if each["stage"] == stage)
        show_field(stage, spoken("{count:,} batches, {records:,} records", count=count, records=records), "")
    if delays:
        show_field("delay", in_words(delays), "")
    waiting = [each for each in found if each["confirmed"] and each["done_at"] is None]
    if waiting:
        columns = {
            "BATCH": "batch_id", "SHARD": "shard_id", "RECORDS": "records", "STAGE": "stage",
            "AGE": lambda each: duration(each["age"]),
        }  # fmt: skip
        print_rows(waiting[:limit], columns)
    else:
        say("every batch of run {run} is in every store", run=run_id)
    return 0


def _entry(each: dict[str, Any]) -> dict[str, Any]:
    done = each["done_at"]
    return {
        "batch_id": each["batch_id"],
        "shard_id": each["shard_id"],
        "records": each["size"],
        "stage": each["stage"],
        "confirmed": bool(each["confirmed"]),
        "published_at": moment(each["published_at"]),
        "done_at": moment(done),
        "age": round((each["age"] if done is None else done - (each["arrived_at"] or done)) / 1_000_000, 3),
    }
