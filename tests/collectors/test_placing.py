"""Where shards are read, and why."""

import pytest

from collectors.models import Collection
from collectors.placing import PLACED_FROM, placement


@pytest.mark.parametrize(
    ("says", "estimates", "where", "why"),
    [
        ("inline", [PLACED_FROM, PLACED_FROM], "inline", "the collection says inline"),
        ("pool", [1], "pool", "the collection says pool"),
        ("auto", [PLACED_FROM], "inline", "there is one shard at most"),
        ("auto", [], "inline", "there is one shard at most"),
        ("auto", [PLACED_FROM - 2, 1], "inline", "99,999 records are read sooner here"),
        ("auto", [PLACED_FROM - 1, 1], "pool", "100,000 records are 100,000 or more"),
    ],
)
def test_where_shards_are_read(says, estimates, where, why):
    found = placement(Collection(name="c", collector="testrail", source={}, placement=says), estimates)
    assert found.where == where
    assert found.why.startswith(why)
