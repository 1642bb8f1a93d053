"""The benchmark runs, and what it prints are numbers of things that were done; how fast is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def bench(*options: str) -> str:
    command = [sys.executable, "-m", "bench.embedded", "--cases", "500", "--rounds", "1", "--no-prefect", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loop_and_the_core_collect_all_cases_in_processes_of_their_own():
    found = json.loads(bench("--large", "600", "--json"))
    (loop,), (first,), (second,) = (
        found["rounds"][name] for name in ("bare loop", "without Prefect, first run", "without Prefect, unchanged")
    )
    assert (loop["records"], first["records"], second["records"]) == (500, 520, 520)
    assert found["large"]["first run"]["records"] == 624
    measured = [loop, first, second, *found["large"].values()]
    assert all(each["seconds"] > 0 and each["cpu"] > 0 and each["peak"] > 10 for each in measured)
    assert found["milliseconds"]["collect --help"] > 0


def test_the_table_names_each_of_them():
    text = bench("--large", "0")
    assert "of the loop" in text
    assert "100%" in next(line for line in text.splitlines() if line.startswith("bare loop"))
