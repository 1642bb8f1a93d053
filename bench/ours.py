"""The platform over the full stack: reading in this process, loading in another one, as a run does, without Prefect.

The tables must be there. Each of several passes collects everything once more, as a collection of its own.

python -m bench.ours ADDRESS METADATA DOCUMENTS CACHE QUEUE [NAME [PASSES]]
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.core import SOURCE, collected, fetched
from bench.measuring import Stint, cpu, peak
from blocks.addresses import ROLES
from blocks.loader import WHILE_FED
from blocks.settings import Settings
from blocks.stores import Storage, open_storage
from collectors.models import Collection


@contextmanager
def loading() -> Iterator[int]:
    """A loader that takes batches already, since how a program starts is no rate; answers its pid."""
    command = [sys.executable, "-m", "blocks.loader", WHILE_FED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the loader does not start")
        yield process.pid


def entries(storage: Storage, run_id: str) -> list[dict[str, Any]]:
    """The ledger of a run that has ended."""
    found = storage.ledger.entries(run_id)
    if unfinished := [each["batch_id"] for each in found if each["stage"] != "done"]:
        raise SystemExit(f"{len(unfinished)} batches are not in every store, {unfinished[0]} among them")
    return found


def run(address: str, names: list[str]) -> dict[str, Any]:
    with open_storage(Settings.load()) as storage, loading() as pid:
        before, stint = cpu(pid), Stint()
        runs = []
        for name in names:
            definition = Collection(name=name, collector="testrail", source=SOURCE | {"base_url": address})
            runs.append(asyncio.run(collected(storage, definition)))
        done: dict[str, Any] = {"seconds": stint.seconds()}
        loader = {"cpu": cpu(pid) - before, "peak": peak(pid)}
        done["processes"] = {"reader": stint.process(), "loader": loader}
        ledger = [entry for run_id in runs for entry in entries(storage, run_id)]
        done["records"] = sum(fetched(storage, run_id) for run_id in runs)
    done["written"] = sum(entry["new"] + entry["changed"] for entry in ledger)
    done["delays"] = [(entry["done_at"] - entry["arrived_at"]) / 1000 for entry in ledger]  # ms, page to all stores
    return done


def main(address: str, *stores: str, name: str = "ours", passes: str = "1") -> None:
    addresses = dict(zip(ROLES, stores, strict=True))
    os.environ.update({f"COLLECT_{role.upper()}": url for role, url in addresses.items()})
    print(json.dumps(run(address, [f"{name}-{number}" for number in range(int(passes))])))


if __name__ == "__main__":
    main(*sys.argv[1:6], **dict(zip(("name", "passes"), sys.argv[6:], strict=False)))
