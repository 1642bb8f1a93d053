"""What is compared: the platform, and how others would do it. What a program does not do is not work it is spared in
secret: the columns say it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
OTHERS_PYTHON = ROOT / ".venv" / "bench" / "bin" / "python"
FEATURES = ("queue", "cache", "guard", "ledger", "hash", "document")


@dataclass(frozen=True)
class Step:
    """One measured run of a program, or of another command that belongs to it.

    `written`: the share of the source that is new or changed to it.
    """

    name: str
    shows: str = "all"
    written: float = 1.0
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Program:
    """`features` are values in the order of FEATURES; `table` and `documents` hold one entry a case afterwards."""

    name: str
    command: tuple[str, ...]
    features: tuple[str, ...]
    table: str = "perf_case"
    documents: str | None = "perf_case"
    cached: bool = False
    python: Path = Path(sys.executable)
    tables_by: tuple[str, ...] = ()  # what makes the tables, where the program itself does not
    steps: tuple[Step, ...] = (Step("first load"),)

    def row(self, step: Step) -> str:
        return self.name if len(self.steps) == 1 else f"{self.name}, {step.name}"


LOOP = Program("plain loop", ("bench.loop",), ("classic", "every case", "-", "-", "-", "BSON"), cached=True)
PROGRAMS: Mapping[str, Program] = {
    "loop": LOOP,
    "scrapy": Program(
        "Scrapy", ("bench.scrapy_spider",), ("-", "-", "-", "-", "-", "BSON"), python=OTHERS_PYTHON
    ),
    "dlt-append": Program(
        "dlt, append", ("bench.dlt_resource", "append"), ("files", "-", "-", "load ids", "-", "JSON column"),
        documents=None, python=OTHERS_PYTHON,
    ),
    "dlt-merge": Program(
        "dlt, merge", ("bench.dlt_resource", "merge"), ("files", "-", "-", "load ids", "-", "JSON column"),
        documents=None, python=OTHERS_PYTHON,
    ),
    "ours": Program(
        "platform", ("bench.ours",), ("quorum", "invalidated", "version", "batches", "canonical SHA-256", "BSON"),
        table="test_case", documents="test_case_detail", tables_by=("deployments.cli", "storage", "migrate", "--json"),
        steps=(
            Step("first load"),
            Step("words for search", command=("bench.words",)),
            Step("unchanged", written=0.0),
            Step("1 % changed", "changed", 0.01),
        ),
    ),
}  # fmt: skip
