"""The benchmark runs, and what it prints are numbers of things that were done; how fast is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

from bench.embedded import Measured, Table, lines

ROOT = Path(__file__).parent.parent.parent


def test_the_loop_and_the_core_collect_all_cases_in_processes_of_their_own():
    options = ("--cases", "500", "--large", "600", "--rounds", "1", "--no-prefect", "--json")
    command = [sys.executable, "-m", "bench.embedded", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = ("bare loop", "without Prefect, first run", "without Prefect, unchanged")
    (loop,), (first,), (second,) = (found["rounds"][name] for name in names)
    assert (loop["records"], first["records"], second["records"]) == (500, 520, 520)
    assert found["large"]["first run"]["records"] == 624
    measured = [loop, first, second, *found["large"].values()]
    assert all(each["seconds"] > 0 and each["cpu"] > 0 and each["peak"] > 10 for each in measured)
    assert found["milliseconds"]["collect --help"] > 0


def test_the_table_shows_medians_and_what_part_of_the_loop_they_are():
    table = Table()
    for seconds in (1.0, 2.0, 9.0):
        table.rounds.setdefault("bare loop", []).append(Measured(1000, seconds, seconds, 50.0))
        table.rounds.setdefault("the core", []).append(Measured(1000, 2 * seconds, seconds, 80.0))
    loop, core = list(lines(table, 1000, 0))[2:]
    assert loop.split() == ["bare", "loop", "500", "100%", "2,000", "50"]
    assert core.split() == ["the", "core", "250", "50%", "2,000", "80"]
