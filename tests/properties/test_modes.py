"""Whatever changes between any two pages, whoever dies, and however modes overlap: in the end the stores say what the
source says.
"""

import os
from collections.abc import Iterator
from itertools import pairwise

import anyio
import pytest

from blocks.stores import Storage
from collectors.sources import testrail
from collectors.states import RunState
from tests.properties.leading import Moving, Runs, Untold, together

SEEDS = int(os.environ.get("COLLECT_MODEL_SEEDS", "16"))


async def _example(storage: Storage, name: str, seed: int) -> None:
    source = Moving(seed)
    runs = Runs(storage, source, name, kind := source.random.choice((testrail.TestRail, Untold)))
    trees = []
    await together(source.random, runs.begin("full"))
    trees.append((runs.past().now(), runs.leaves()))
    for _ in range(source.random.randint(1, 2)):
        await together(
            source.random, *map(runs.begin, source.random.choice((["full", "incremental"], ["incremental"])))
        )
        trees.append((runs.past().now(), runs.leaves()))

    source.restless = source.deadly = False
    await together(source.random, runs.begin("incremental"))
    expected, stored = source.expected(), runs.stored()
    assert {key: value for key, value in stored.items() if key in expected} == expected
    for _ in range(2 if kind is Untold else 1):
        await together(source.random, runs.begin("full"))
    assert runs.stored() == expected
    states = {row["state"] for row in storage.catalog.runs("default", name)}
    assert states <= {RunState.COMPLETED, RunState.PARTIALLY_COMPLETED}
    seen = source.unmodified
    await together(source.random, runs.begin("full"))
    assert (source.unmodified > seen) is (source.etags and bool(expected))
    assert runs.stored() == expected
    for at, leaves in trees:
        assert sorted(runs.past().leaves(at)) == sorted(leaves)
    for (before, old), (after, new) in pairwise(trees):
        found = {(each.kind, each.id) for each in runs.past().differences(before, after)}
        assert {(leaf.kind, leaf.id) for leaf in set(old) ^ set(new)} <= found


@pytest.mark.parametrize("part", range(4))
def test_after_the_last_full_run_the_stores_equal_the_source(storage: Storage, names: Iterator[str], part: int):
    _examples(storage, names, range(part, SEEDS, 4))


def test_and_so_do_the_servers_of_the_full_stack(served_storage: Storage, names: Iterator[str]):
    _examples(served_storage, names, range(0, SEEDS, 4))


def _examples(storage: Storage, names: Iterator[str], seeds: range) -> None:
    for seed in seeds:
        try:
            anyio.run(_example, storage, next(names), seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
