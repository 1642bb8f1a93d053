"""A survey becomes stages of shards: the same survey and strategy give the same shards."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from collectors.interfaces import Collector, Pinning
from collectors.models import Keys, Offsets, ShardPlan, Stage, Strategy

Cut = tuple[str, dict[str, Any], int]


def plan(stages: Sequence[Stage], strategy: Strategy) -> list[ShardPlan]:
    """The shards of all stages in order. An empty stage has none, so an empty source makes an empty plan."""
    cuts = [(stage, cut) for stage in stages for cut in _cuts(stage, strategy)]
    width = max(2, len(str(len(cuts))))
    return [
        ShardPlan(
            shard_id=f"s{number:0{width}}",
            stage=stage.name,
            label=f"{stage.name} {label}",
            span=span | stage.within,
            estimate=estimate,
        )
        for number, (stage, (label, span, estimate)) in enumerate(cuts, 1)
    ]


async def pinned(collector: Collector, plans: Sequence[ShardPlan]) -> list[ShardPlan]:
    """The same shards, their spans fixed by the collector where the source's list may move while it is read."""
    if not isinstance(collector, Pinning):
        return list(plans)
    fixed: list[ShardPlan] = []
    for stage, of_stage in groupby(plans, key=lambda plan: plan.stage):
        group = list(of_stage)
        spans = await collector.pin(stage, [plan.span for plan in group])
        fixed += [plan.model_copy(update={"span": span}) for plan, span in zip(group, spans, strict=True)]
    return fixed


def _cuts(stage: Stage, strategy: Strategy) -> Iterator[Cut]:
    match stage.extent:
        case Offsets(total=total):
            return _windows(total, strategy.shard_size, strategy.page_size)
        case Keys(weights=weights):
            return _groups(weights, strategy.shard_size)


def _windows(total: int, shard_size: int, page_size: int) -> Iterator[Cut]:
    """Windows that begin on a page. The last is open, so that records added meanwhile are read too."""
    size = max(1, shard_size // page_size) * page_size
    for start in range(0, total, size):
        stop = start + size
        last = stop >= total
        span = {"start": start, "stop": None if last else stop}
        yield f"{start}..{'' if last else stop - 1}", span, min(stop, total) - start


def _groups(weights: Sequence[tuple[int | str, int]], shard_size: int) -> Iterator[Cut]:
    """Neighbouring keys together until they hold `shard_size` records; a heavier key stands alone."""
    group: list[int | str] = []
    weight = 0
    for key, records in weights:
        if group and weight + records > shard_size:
            yield _group(group, weight)
            group, weight = [], 0
        group.append(key)
        weight += records
    if group:
        yield _group(group, weight)


def _group(keys: list[int | str], weight: int) -> Cut:
    label = str(keys[0]) if len(keys) == 1 else f"{keys[0]}..{keys[-1]}"
    return label, {"keys": keys}, weight
