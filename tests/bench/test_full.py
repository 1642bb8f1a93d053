"""The benchmark of the full stack runs, and counts what it did; how fast is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

from bench.running import Run
from bench.table import Results, lines

ROOT = Path(__file__).parent.parent.parent


def test_loop_and_platform_collect_everything_round_by_round():
    options = ("--cases", "2000", "--rounds", "1", "--only", "loop", "ours", "--json")
    command = [sys.executable, "-m", "bench.full", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    steps = ("first load", "words for search", "unchanged", "1 % changed")
    rows = {"plain loop", *(f"platform, {step}" for step in steps)}
    (counted,) = found["rounds"]
    assert set(found["warm_up"]) == set(counted) == rows
    servers = {"mysql", "mongodb", "redis", "rabbitmq", "nginx"}
    for run in counted.values():
        assert set(run["cpu"]) == set(run["peak"]) >= {"loader"} | servers
        assert run["rate"] > 0 and run["cpu"]["loader"] > 0 and run["peak"]["rabbitmq"] > 10
    assert len(counted["platform, first load"]["delays"]) >= 8


def run(row: str, rate: float, cost: float, delays: tuple[float, ...] = ()) -> Run:
    machine = {"busy": 1.5, "idle": 0.5, "stolen": 0.0, "disturbed": rate < 1000}
    return Run(
        row,
        rate,
        {"reader": cost / 2, "mysql": cost / 2},
        {"reader": 80.0, "mysql": 100.0},
        **machine,
        delays=list(delays),
    )


def test_the_table_shows_medians_and_ratios_within_the_same_round():
    results = Results(cases=100, existing=(10, 1000))
    for loop, scrapy in ((2000, 1000), (4000, 3000), (900, 300)):
        results.rounds.append({"Scrapy": run("Scrapy", scrapy, 300), "plain loop": run("plain loop", loop, 100)})
    results.delays["all out"] = run("ours", 5000, 1, tuple(range(101)))
    results.growth.append((run("ours", 2000, 100), run("ours", 1500, 150)))
    text = list(lines(results))
    loop, scrapy = (next(line for line in text if line.startswith(name)) for name in ("plain loop", "Scrapy"))
    assert "2,000 (900-4,000)" in loop and "1.00 (1.00-1.00)" in loop and "1 of 3" in loop
    assert "1,000 (300-3,000)" in scrapy and "0.50 (0.33-0.75)" in scrapy and "3.00 (3.00-3.00)" in scrapy
    assert next(line for line in text if line.startswith("all out")).split()[2:] == [
        "5,000",
        "101",
        "50",
        "95",
        "99",
        "100",
    ]
    assert "ratio          0.75 (0.75-0.75)" in text and "ratio of CPU   1.50 (1.50-1.50)" in text
