"""What a run costs that finds little new, beside the first load of the same minute; on both kinds of stores.

    .venv/bin/python -m bench.modes [--cases 200000] [--stores embedded|servers]

Every thousandth case is changed, in every third of the pages at most. Seconds are from the first request to the source
until the last batch was in every store, as the run tells them; pages are requests for cases of more than one record.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import astuple
from pathlib import Path
from urllib.request import Request, urlopen

from bench.servers import running
from blocks.addresses import ROLES

COLLECT = (sys.executable, "-m", "deployments.cli")
CHANGED = 1_000  # of so many cases one


@contextmanager
def _sample(cases: int, environment: Mapping[str, str]) -> Iterator[str]:
    size = ("--cases", str(cases), "--directories", str(max(1, cases // 25)))
    command = [*COLLECT, "sample", "--port", "0", *size]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield next(word for line in process.stdout for word in line.split() if word.startswith("http://")).rstrip(
                "/"
            )
        finally:
            process.terminate()


def _asked(address: str, path: str, body: bytes | None = None) -> dict:
    with urlopen(Request(f"{address}/_sample/{path}", data=body)) as answer:
        return json.load(answer)


def _run(environment: Mapping[str, str], *arguments: str) -> dict:
    command = [*COLLECT, "run", *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def measure(cases: int, stores: str) -> Iterator[tuple[str, float, dict]]:
    with tempfile.TemporaryDirectory() as folder, running() if stores == "servers" else nullcontext() as servers:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLECT_")}
        environment |= {"COLLECT_HOME": str(Path(folder) / "home"), "NO_PROXY": "*"}
        if servers:
            environment |= {
                f"COLLECT_{role.upper()}": url
                for role, url in zip(ROLES, astuple(servers.emptied("modes")), strict=True)
            }
            subprocess.run([*COLLECT, "storage", "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
        with _sample(cases, environment) as address:
            file = Path(folder) / "cases.yaml"
            source = f"{{base_url: {address}, project_id: 1, suite_id: 1, username: u, api_key: k}}"
            file.write_text(f"name: cases\ncollector: testrail\nsource: {source}\nstrategy: {{overlap: 0}}\n")
            try:
                yield from _rows(cases, address, environment, str(file))
            finally:
                subprocess.run([*COLLECT, "down"], env=environment, check=False, stderr=subprocess.DEVNULL)


def _rows(cases: int, address: str, environment: Mapping[str, str], file: str) -> Iterator[tuple[str, float, dict]]:
    def row(name: str, *arguments: str) -> tuple[str, float, dict]:
        _asked(address, "reset_stats", b"")
        done = _run(environment, *arguments)
        return name, _asked(address, "stats")["by_method"].get("get_cases", 0), done

    yield row("first load", file)
    yield row("unchanged, record by record", "cases", "--set", "strategy.skip_unchanged=false")
    yield row("unchanged, by ETag (304)", "cases")
    changed = json.dumps({"count": cases // CHANGED}).encode()
    _asked(address, "update", changed)
    yield row("0.1 % changed, incremental", "cases", "--mode", "incremental")
    yield row("0.1 % changed, full", "cases")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--stores", choices=("embedded", "servers"), default="embedded")
    given = parser.parse_args()
    first = None
    print(f"| {given.stores}, {given.cases:,} cases | s | of the first load | requests for cases | new, changed |")
    print("|---|---|---|---|---|")
    for name, pages, done in measure(given.cases, given.stores):
        first = first or done["seconds"]
        records = done["records"]
        counts = f"{records['new']:,}, {records['changed']:,}"
        print(
            f"| {name} | {done['seconds']:.1f} | {first / done['seconds']:.1f} x | {pages:,} | {counts} |", flush=True
        )


if __name__ == "__main__":
    main()
