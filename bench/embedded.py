"""What the embedded platform does, beside a bare loop over the same source in the same minute.

    make bench-embedded                           20,000 and 200,000 cases, a quarter of an hour
    .venv/bin/python -m bench.embedded --quick    2,000 and 20,000 cases, two minutes

Every measured program is a process of its own, so that its time and memory are its own. Of several rounds the median
is shown; a machine that does other things makes all of them slower, so the column to compare is "of the loop".
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from blocks.settings import Settings
from blocks.stores import open_storage

COLLECT = ("-m", "deployments.cli")
CASES_OF_A_DIRECTORY = 25
WORDS = ("退款", "失败", "支付 超时", "用户 推送", "refund", "页面 加载完成", "iOS", "订单 已支付")
REPEATS = 10


@dataclass
class Measured:
    """One program that ran: `cpu` and `peak` are those of its process. Seconds and MB."""

    records: int
    seconds: float
    cpu: float
    peak: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds


@dataclass
class Table:
    """Everything that was measured."""

    rounds: dict[str, list[Measured]] = field(default_factory=dict)
    large: dict[str, Measured] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, measured: Measured) -> None:
        self.rounds.setdefault(name, []).append(measured)
        print(f"  {name}: {measured.rate:,.0f}/s", file=sys.stderr)


class Bench:
    """Runs the programs, each in the folder it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, home: Path, *arguments: str, **environment: str) -> tuple[str, float, Any]:
        """What a Python program printed, how long it took (seconds), and what it used."""
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, *arguments], env=_environment(home) | environment, stdout=subprocess.PIPE, text=True
        ) as process:
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
        return said, time.perf_counter() - began, used

    def measured(self, home: Path, *arguments: str, **environment: str) -> Measured:
        said, _, used = self.run(home, *arguments, **environment)
        done = json.loads(said)
        peak = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
        if "rate" in done:
            return Measured(done["records"]["fetched"], done["seconds"], used.ru_utime + used.ru_stime, peak)
        return Measured(done["records"], done["seconds"], done["cpu"], peak)

    def milliseconds(self, home: Path, times: int, *arguments: str) -> float:
        return median(self.run(home, *COLLECT, *arguments)[1] for _ in range(times)) * 1000

    @contextmanager
    def sample(self, cases: int) -> Iterator[str]:
        size = ("--cases", str(cases), "--directories", str(max(1, cases // CASES_OF_A_DIRECTORY)))
        command = [sys.executable, *COLLECT, "sample", "--port", "0", *size]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield re.search(r"http://\S+", process.stdout.readline())[0]
            finally:
                process.terminate()

    def home(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    # ---- what is measured ------------------------------------------------------------------------------

    def loop_and_core(self, table: Table, address: str) -> Path:
        home = self.home()
        table.add("bare loop", self.measured(home, "-m", "bench.bare", address, str(home / "bare.db")))
        table.add("without Prefect, first run", self.measured(home, "-m", "bench.core", address))
        table.add("without Prefect, unchanged", self.measured(home, "-m", "bench.core", address))
        return home

    def with_prefect(self, table: Table, address: str, server: str) -> Path:
        home = self.home()
        run = (*COLLECT, "run", "demo", "--set", f"source.base_url={address}", "--json")
        table.add("collect run, first run", self.measured(home, *run, PREFECT_API_URL=server))
        table.add("collect run, unchanged", self.measured(home, *run, PREFECT_API_URL=server))
        return home

    def large(self, table: Table, cases: int) -> Path:
        home = self.home()
        with self.sample(cases) as address:
            table.large["first run"] = self.measured(home, "-m", "bench.core", address)
            table.large["unchanged"] = self.measured(home, "-m", "bench.core", address)
        return home

    def commands(self, table: Table, home: Path, times: int) -> None:
        for command in (("--help",), ("status",), ("list",), ("tree", "core", "--depth", "1")):
            table.milliseconds[f"collect {' '.join(command)}"] = self.milliseconds(home, times, *command)

    def searches(self, table: Table, home: Path, cases: int) -> None:
        with open_storage(Settings(home, None)) as storage:
            took = []
            for words in WORDS * REPEATS:
                began = time.perf_counter()
                storage.documents.search("default", words)
                took.append((time.perf_counter() - began) * 1000)
        table.milliseconds[f"a search in {cases:,} cases, median"] = median(took)
        table.milliseconds[f"a search in {cases:,} cases, slowest"] = max(took)

    def demo(self, table: Table) -> None:
        home = self.home()
        try:
            for name in ("make demo, server started by it", "make demo, server up"):
                table.milliseconds[name] = self.run(home, "-m", "deployments.demo")[1] * 1000
        finally:
            self.run(home, *COLLECT, "down")


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {"COLLECT_HOME": str(home), "NO_COLOR": "1"}


def measure(bench: Bench, cases: int, large: int, rounds: int, prefect: bool) -> Table:
    """`large` is the number of cases memory and search are measured with; 0 leaves them out."""
    table = Table()
    with bench.sample(cases) as address:
        for _ in range(rounds):
            home = bench.loop_and_core(table, address)
        if prefect:
            _with_prefect(bench, table, address, rounds)
    bench.commands(table, home, rounds)
    if large:
        bench.searches(table, bench.large(table, large), large)
    if prefect:
        bench.demo(table)
    return table


def _with_prefect(bench: Bench, table: Table, address: str, rounds: int) -> None:
    server_home = bench.home()
    said, _, _ = bench.run(server_home, *COLLECT, "up", "--port", "0")
    try:
        for _ in range(rounds):
            bench.with_prefect(table, address, f"{re.search('http://[^ ]+', said)[0].strip()}/api")
    finally:
        bench.run(server_home, *COLLECT, "down")


def lines(table: Table, cases: int, large: int) -> Iterator[str]:
    """The table as it is printed. More load than cores means that it measures the neighbours too."""
    yield f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    loop = median(each.rate for each in table.rounds["bare loop"])
    yield f"{f'{cases:,} cases':32}{'records/s':>11}{'of the loop':>13}{'CPU µs/record':>15}{'peak MB':>9}"
    for name, rounds in table.rounds.items():
        yield _line(name, rounds, loop)
    if table.large:
        yield f"{large:,} cases, without Prefect"
    for name, measured in table.large.items():
        yield _line(name, [measured], loop)
    yield from (f"{name:48}{value:12,.1f} ms" for name, value in table.milliseconds.items())


def _line(name: str, rounds: Sequence[Measured], loop: float) -> str:
    rate = median(each.rate for each in rounds)
    cpu = median(each.cpu / each.records for each in rounds) * 1e6
    return f"{name:32}{rate:11,.0f}{rate / loop:13.0%}{cpu:15,.0f}{max(each.peak for each in rounds):9,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.embedded", description="Measure the embedded platform.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases, one round")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000, help="cases memory and search are measured with; 0: not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-prefect", action="store_true", help="leave out what needs a Prefect server")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.cases, given.large, given.rounds = given.cases // 10, given.large // 10, 1
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Bench(Path(folder)), given.cases, given.large, given.rounds, not given.no_prefect)
    print(json.dumps(asdict(table)) if given.json else "\n".join(lines(table, given.cases, given.large)))


if __name__ == "__main__":
    main()
