"""Plans: every record belongs to exactly one shard, whatever the sizes."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.models import Keys, Offsets, Stage, Strategy
from collectors.planning import plan

SIZES = st.integers(1, 400)
WEIGHTS = st.lists(st.tuples(st.integers(1, 10**6) | st.text(max_size=3), st.integers(0, 120)), max_size=40)


def windows(total: int, shard_size: int, page_size: int):
    return plan(
        [Stage(name="cases", extent=Offsets(total=total))], Strategy(shard_size=shard_size, page_size=page_size)
    )


def groups(weights, shard_size: int):
    return plan(
        [Stage(name="cases", extent=Keys(weights=tuple(weights)))], Strategy(shard_size=shard_size, page_size=10)
    )


@given(st.integers(0, 3_000), SIZES, SIZES)
def test_windows_cover_every_offset_once_and_only_the_last_is_open(total, shard_size, page_size):
    shards = windows(total, shard_size, page_size)
    starts = [shard.span["start"] for shard in shards]
    stops = [shard.span["stop"] for shard in shards]
    assert starts == ([0, *stops[:-1]] if total else [])
    assert all(start < stop for start, stop in zip(starts[:-1], stops[:-1], strict=True))
    assert stops[-1:] == ([None] if total else [])
    assert all(start < total for start in starts)


@given(st.integers(0, 3_000), SIZES, SIZES)
def test_windows_begin_on_pages_and_are_as_large_as_whole_pages_allow(total, shard_size, page_size):
    shards = windows(total, shard_size, page_size)
    size = max(page_size, shard_size - shard_size % page_size)
    assert all(shard.span["start"] % page_size == 0 for shard in shards)
    assert [shard.estimate for shard in shards[:-1]] == [size] * (len(shards) - 1)
    assert sum(shard.estimate for shard in shards) == total
    assert all(0 < shard.estimate <= size for shard in shards)


@given(WEIGHTS, SIZES)
def test_groups_keep_the_order_and_hold_every_key_once(weights, shard_size):
    shards = groups(weights, shard_size)
    assert [key for shard in shards for key in shard.span["keys"]] == [key for key, _ in weights]


@given(WEIGHTS, SIZES)
def test_a_group_is_no_heavier_than_a_shard_unless_it_is_one_key(weights, shard_size):
    remaining = iter(weights)
    for shard in groups(weights, shard_size):
        weight = sum(next(remaining)[1] for _ in shard.span["keys"])
        assert shard.estimate == weight
        assert weight <= shard_size or len(shard.span["keys"]) == 1


@given(WEIGHTS, SIZES)
def test_neighbouring_groups_would_not_fit_into_one_shard(weights, shard_size):
    """Otherwise one key a shard would do, and a thousand small keys were a thousand shards."""
    shards = groups(weights, shard_size)
    weight = dict(enumerate(records for _, records in weights))
    first = 0
    for shard in shards[:-1]:
        first += len(shard.span["keys"])
        assert shard.estimate + weight[first] > shard_size


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4), st.integers(1, 50))
def test_ids_are_unique_and_sort_in_the_order_of_the_plan(totals, shard_size):
    stages = [Stage(name=f"stage{n}", extent=Offsets(total=total)) for n, total in enumerate(totals)]
    shards = plan(stages, Strategy(shard_size=shard_size, page_size=1))
    ids = [shard.shard_id for shard in shards]
    assert ids == sorted(set(ids))
    assert [shard.stage for shard in shards] == sorted(shard.stage for shard in shards)


def test_ids_sort_beyond_a_hundred_shards():
    ids = [shard.shard_id for shard in windows(1_000, 1, 1)]
    assert ids == sorted(set(ids))
    assert len(ids) == 1_000


def test_an_empty_stage_has_no_shard():
    empty = [Stage(name="directories", extent=Offsets(total=0)), Stage(name="tags", extent=Keys(weights=()))]
    assert plan(empty, Strategy()) == []
    assert [shard.stage for shard in plan([*empty, Stage(name="cases", extent=Offsets(total=1))], Strategy())] == [
        "cases"
    ]


def test_labels_say_what_a_shard_covers():
    assert [shard.label for shard in windows(25, 10, 5)] == ["cases 0..9", "cases 10..19", "cases 20.."]
    assert [shard.label for shard in groups([(7, 5), (9, 5), (11, 20)], 10)] == ["cases 7..9", "cases 11"]


def test_a_stage_tells_its_total():
    assert Stage(name="a", extent=Offsets(total=7)).total == 7
    assert Stage(name="a", extent=Keys(weights=(("x", 2), ("y", 3)))).total == 5
