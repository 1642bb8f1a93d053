"""Trees as they stood are held for those who page through them, and not for ever."""

import weakref

import pytest

from blocks.past import Moment, Past
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Retention
from deployments.api.past_trees import MOST_HELD, PastTrees


@pytest.fixture
def past(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        yield Past(storage, "default", "cases", Retention())


@pytest.fixture
def at(past):
    return past.now().at


def test_a_tree_is_made_once_for_its_pages(past, at):
    trees = PastTrees()
    assert trees(past, Moment(at)) is trees(past, Moment(at))


def test_a_few_are_held(past, at):
    trees = PastTrees()
    held = [weakref.ref(trees(past, Moment(at - before))) for before in range(MOST_HELD + 1)]
    assert [tree() is None for tree in held] == [True] + [False] * MOST_HELD


def test_one_is_let_go_after_a_while_although_nothing_else_is_asked_for(past, at, until):
    trees = PastTrees(seconds=0.01)
    held = weakref.ref(trees(past, Moment(at)))
    assert until(lambda: held() is None)
