"""dlt over the same source, into MySQL alone, with its sqlalchemy destination.

Settings as its page on performance advises: pages instead of single items, requests in threads, several processes to
normalise, files small enough that several are loaded side by side. Nested lists stay JSON columns instead of becoming
tables of their own, and every case is appended, not merged: both are much less work. Runs in .venv/bench.

python -m bench.dlt_resource append|merge ADDRESS METADATA
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.destinations import sqlalchemy
from dlt.sources.helpers import requests
from sqlalchemy import make_url

from bench.measuring import Stint

PAGE = 250
LANES = 4  # requests side by side
WORKERS = 2  # one a core
SETTINGS = {
    "EXTRACT__WORKERS": LANES,
    "NORMALIZE__WORKERS": WORKERS,
    "LOAD__WORKERS": WORKERS,
    "DATA_WRITER__BUFFER_MAX_ITEMS": 5_000,
    "DATA_WRITER__FILE_MAX_ITEMS": 5_000,
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
}


def source(address: str, disposition: str) -> list[Any]:
    """One resource a lane, all into one table: resources of a source are extracted side by side."""
    options = {"table_name": "perf_case", "write_disposition": disposition, "primary_key": "id", "max_table_nesting": 0}
    lanes = [dlt.resource(lane, name=f"lane{number}", parallelized=True, **options) for number in range(LANES)]
    return [each(address, number * PAGE) for number, each in enumerate(lanes)]


def lane(address: str, offset: int) -> Iterator[list[dict[str, Any]]]:
    while True:
        query = f"/index.php?/api/v2/get_cases/1&suite_id=1&limit={PAGE}&offset={offset}"
        cases = requests.get(address + query).json()["cases"]
        if not cases:
            return
        yield cases
        offset += LANES * PAGE


def main(disposition: str, address: str, metadata: str, *_: str) -> None:
    os.environ.update({name: str(value) for name, value in SETTINGS.items()})
    with tempfile.TemporaryDirectory() as folder:
        stint = Stint()
        destination = sqlalchemy(metadata, create_primary_keys=True)
        dataset = make_url(metadata).database
        pipeline = dlt.pipeline("perf", pipelines_dir=folder, destination=destination, dataset_name=dataset)
        pipeline.run(source(address, disposition))
        records = pipeline.last_trace.last_normalize_info.row_counts["perf_case"]
        done = {"records": records, "seconds": stint.seconds(), "processes": {"dlt": stint.process()}}
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
