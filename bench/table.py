"""The results as people read them. A ratio is made within a round: what disturbs a round disturbs both sides."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.programs import FEATURES, LOOP, PROGRAMS
from bench.running import Run

Round = dict[str, Run]
PERCENT = (50, 95, 99)


@dataclass
class Results:
    """`delays` by the circumstances. `growth`: first loads beside few and beside many existing cases, in pairs."""

    cases: int
    existing: tuple[int, int]
    warm_up: Round = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    delays: dict[str, Run] = field(default_factory=dict)
    growth: list[tuple[Run, Run]] = field(default_factory=list)


def lines(results: Results) -> Iterator[str]:
    load = os.getloadavg()[0]
    yield f"{os.cpu_count()} cores, load {load:.1f}; {results.cases:,} cases, {len(results.rounds)} rounds"
    yield "median (lowest to highest of the rounds); a ratio is to the plain loop of the same round"
    yield from _ratios(results.rounds)
    yield from _features(results.rounds)
    yield from _processes("CPU µs/case", results.rounds, [_cpu(each) for each in results.rounds])
    yield from _processes("peak MB", results.rounds, [_peak(each) for each in results.rounds])
    yield from _every(results)
    yield from _delays(results.delays)
    yield from _growth(results)


def _rows(rounds: Sequence[Round]) -> list[str]:
    return sorted(rounds[0], key=list(_order()).index) if rounds else []


def _order() -> Iterator[str]:
    for program in PROGRAMS.values():
        yield from map(program.row, program.steps)


# ---- the rounds --------------------------------------------------------------------------------------------


def _ratios(rounds: Sequence[Round]) -> Iterator[str]:
    yield f"\n{'':28}{'cases/s':>26}{'ratio':>20}{'CPU µs/case':>20}{'ratio':>20}  disturbed"
    for row in _rows(rounds):
        of_row = [each[row] for each in rounds]
        loops = [each.get(LOOP.row(LOOP.steps[0])) for each in rounds]
        pairs = [(run, loop) for run, loop in zip(of_row, loops, strict=True) if loop]
        yield (
            f"{row:28}{_spread([run.rate for run in of_row], ',.0f'):>26}"
            f"{_spread([run.rate / loop.rate for run, loop in pairs], '.2f'):>20}"
            f"{_spread([run.cost for run in of_row], '.0f'):>20}"
            f"{_spread([run.cost / loop.cost for run, loop in pairs], '.2f'):>20}"
            f"  {sum(run.disturbed for run in of_row)} of {len(of_row)}"
        )


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "-"
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _features(rounds: Sequence[Round]) -> Iterator[str]:
    yield f"\n{'':28}" + "".join(f"{feature:19}" for feature in FEATURES).rstrip()
    rows = set(_rows(rounds))
    for program in PROGRAMS.values():
        if rows & set(map(program.row, program.steps)):
            yield (f"{program.name:28}" + "".join(f"{feature:19}" for feature in program.features)).rstrip()


def _cpu(of_round: Round) -> dict[str, dict[str, float]]:
    return {row: dict(run.cpu) for row, run in of_round.items()}


def _peak(of_round: Round) -> dict[str, dict[str, float]]:
    return {row: dict(run.peak) for row, run in of_round.items()}


def _processes(title: str, rounds: Sequence[Round], by_row: Sequence[dict[str, dict[str, float]]]) -> Iterator[str]:
    yield f"\n{title}"
    for row in _rows(rounds):
        middle = {name: median(each[row][name] for each in by_row) for name in by_row[0][row]}
        yield f"{row:28}" + "   ".join(f"{name} {value:.0f}" for name, value in middle.items())


def _every(results: Results) -> Iterator[str]:
    yield "\nevery run in the order of time; the warm-up counts for nothing. ! disturbed"
    for number, of_round in enumerate((results.warm_up, *results.rounds)):
        for row, run in of_round.items():
            name = f"round {number}" if number else "warm-up"
            machine = f"{run.busy:.2f} cores busy, {run.idle:.2f} idle, {run.stolen:.1%} stolen{_mark(run)}"
            yield f"{name:9}{row:28}{run.rate:9,.0f}/s{run.cost:6.0f} µs   {machine}"


def _mark(run: Run) -> str:
    return " !" if run.disturbed else ""


# ---- what only the platform is measured for ----------------------------------------------------------------


def _delays(delays: dict[str, Run]) -> Iterator[str]:
    if delays:
        heads = "".join(f"{f'p{percent}':>9}" for percent in PERCENT)
        yield f"\n{'ms from page to all stores':42}{'cases/s':>9}{'batches':>9}{heads}{'slowest':>9}"
    for name, run in delays.items():
        cuts = quantiles(run.delays, n=100, method="inclusive")
        shown = (*(cuts[percent - 1] for percent in PERCENT), max(run.delays))
        values = "".join(f"{value:9,.0f}" for value in shown)
        yield f"{name:42}{run.rate:9,.0f}{len(run.delays):9,}{values}{_mark(run)}"


def _growth(results: Results) -> Iterator[str]:
    if results.growth:
        few, many = results.existing
        yield f"\nfirst load beside existing cases: {few:,} and {many:,}"
        yield f"cases/s        {_spread([each.rate for each, _ in results.growth], ',.0f')}"
        yield f"               {_spread([each.rate for _, each in results.growth], ',.0f')}"
        yield f"ratio          {_spread([late.rate / early.rate for early, late in results.growth], '.2f')}"
        yield f"ratio of CPU   {_spread([late.cost / early.cost for early, late in results.growth], '.2f')}"
