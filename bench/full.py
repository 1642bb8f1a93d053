"""The full stack beside the ways others would do it: all on this machine, in one go, compared round by round.

    make bench                                half an hour
    .venv/bin/python -m bench.full --quick    a fifth of the cases, two rounds, five minutes

Every round runs everything once, in an order drawn anew, on empty tables; one round before them warms up and counts for
nothing. The servers run on the same cores, and their work is counted too.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from random import Random

from bench import servers, source
from bench.pages import FEW
from bench.programs import PROGRAMS, Program, Step
from bench.running import Bench, Run
from bench.table import Results, Round, lines

OURS = PROGRAMS["ours"]
FIRST, WORDS, *_ = OURS.steps
ALONE = ("delays", "growth")  # what only the platform is measured for
MANY = 20  # times the cases
PAIRS = 3
PASSES_AT_PACE, PASSES_AT_MOST = 10, 5  # batches enough for a 99th percentile


def one_round(bench: Bench, programs: Sequence[Program], random: Random) -> Round:
    done: Round = {}
    for program in random.sample(programs, len(programs)):
        stores = bench.prepared(program, "perf")
        for step in program.steps:
            run = bench.run(program, step, stores)
            done[run.row] = run
            _tell(run)
        bench.count(program, stores)
    return done


def delays(bench: Bench, passes_at_pace: int, passes_at_most: int) -> Iterator[tuple[str, Run]]:
    """How long a page takes into all stores, when the source gives all it can and when it gives 10,000 a second."""
    for beside, others in (("", _nothing), (" beside a busy core", _busy_core)):
        for name, address, passes in (
            ("as fast as it goes", bench.source.plain, passes_at_most),
            (f"{source.PACE:,}/s offered", bench.source.slow, passes_at_pace),
        ):
            stores = bench.prepared(OURS, "perf")
            with others():
                run = bench.run(OURS, FIRST, stores, address, passes * bench.cases, "ours", str(passes))
            _tell(run)
            yield name + beside, run


def growth(bench: Bench, few: int, many: int, pairs: int) -> Iterator[tuple[Run, Run]]:
    """First loads beside few and many cases that are there already, in turn."""
    full = bench.prepared(OURS, "perf_many")
    bench.run(OURS, FIRST, full, None, many, "before", str(many // bench.cases))
    bench.run(OURS, WORDS, full, None, many)
    for number in range(pairs):
        empty = bench.prepared(OURS, "perf")
        bench.run(OURS, Step("few", "few"), empty, None, few, "before")
        pair = bench.run(OURS, FIRST, empty), bench.run(OURS, FIRST, full, None, 0, f"new{number}")
        for run in pair:
            _tell(run)
        yield pair


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _busy_core() -> Iterator[None]:
    """Another program takes all it can get of one core."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _tell(run: Run) -> None:
    print(f"  {run.row}: {run.rate:,.0f}/s, {run.cost:.0f} µs", file=sys.stderr, flush=True)


def measure(cases: int, rounds: int, parts: Sequence[str], quick: bool) -> Results:
    programs = [program for name, program in PROGRAMS.items() if name in parts]
    results, random = Results(cases, (min(FEW, cases), MANY * cases)), Random()
    with servers.running() as started, source.serving(cases) as served:
        bench = Bench(started, served, cases)
        results.warm_up = one_round(bench, programs, random)
        for number in range(1, rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr)
            results.rounds.append(one_round(bench, programs, random))
        if "delays" in parts:
            results.delays.update(delays(bench, *((1, 1) if quick else (PASSES_AT_PACE, PASSES_AT_MOST))))
        if "growth" in parts:
            results.growth.extend(growth(bench, *results.existing, 1 if quick else PAIRS))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.full", description="Measure the full stack and its opponents.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the cases, two rounds")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5, help="after one that warms up")
    parser.add_argument("--only", nargs="+", choices=(*PROGRAMS, *ALONE), default=(*PROGRAMS, *ALONE), metavar="PART")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.cases, given.rounds = given.cases // 5, 2
    for program in (PROGRAMS[part] for part in given.only if part in PROGRAMS):
        if not program.python.exists():
            raise SystemExit(f"{program.name} is not installed: make .venv/bench/made")
    results = measure(given.cases, given.rounds, given.only, given.quick)
    print(json.dumps(asdict(results)) if given.json else "\n".join(lines(results)))


if __name__ == "__main__":
    main()
