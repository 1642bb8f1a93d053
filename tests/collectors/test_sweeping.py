"""What is gone of what a complete sweep did not see: by the source, an earlier sweep, or what it hung below."""

import pytest

from collectors.errors import Misconfigured
from collectors.sweeping import MOST_ASKED, Unseen, judged


class Silent:
    """A collector that cannot be asked."""


class Asked:
    """A collector that says of some records whether they are there."""

    def __init__(self, **said: bool) -> None:
        self.said, self.asked = said, []

    async def exist(self, kind, ids):
        self.asked += ids
        return {id: self.said[id] for id in ids if id in self.said}


def directory(id, parent=None, again=False):
    return Unseen("directory", id, parent, again)


def case(id, parent=None, again=False):
    return Unseen("case", id, parent, again)


async def gone(collector, *unseen):
    certain, uncertain = await judged(unseen, collector)
    assert {*certain, *uncertain} <= {*unseen}
    return {each.id for each in certain}, {each.id for each in uncertain}


async def test_without_a_source_to_ask_a_second_sweep_is_needed():
    assert await gone(Silent(), case("1"), case("2", again=True)) == ({"2"}, {"1"})


async def test_the_source_decides_what_it_tells_of_and_a_second_sweep_the_rest():
    found = await gone(Asked(a=True, b=False), case("a", again=True), case("b"), case("c"), case("d", again=True))
    assert found == ({"b", "d"}, {"c"})


async def test_what_hangs_below_a_directory_that_is_gone_is_gone_with_it_and_not_asked_for():
    collector = Asked(top=False)
    found = await gone(
        collector, case("1", "low"), directory("low", "top"), directory("top", "living"), case("2", "top")
    )
    assert found == ({"top", "low", "1", "2"}, set())
    assert collector.asked == ["top"]


async def test_what_has_moved_out_of_it_before_is_not():
    found = await gone(Asked(top=False, moved=True), directory("top"), case("moved", "living"), case("left", "top"))
    assert found == ({"top", "left"}, set())


async def test_below_a_directory_that_is_there_each_is_asked_for():
    collector = Asked(top=True, low=False)
    found = await gone(collector, directory("top"), directory("low", "top"), case("1", "low"), case("2", "top"))
    assert found == ({"low", "1"}, {"2"})
    assert collector.asked == ["top", "low", "2"]


async def test_directories_in_a_circle_end():
    found = await gone(Silent(), directory("a", "b"), directory("b", "a", again=True))
    assert found == ({"b"}, {"a"})


async def test_a_source_that_does_not_let_itself_be_asked_has_said_nothing():
    class Forbidding:
        async def exist(self, kind, ids):
            raise Misconfigured("no", "", code="COL-0315")

    assert await gone(Forbidding(), case("1"), case("2", again=True)) == ({"2"}, {"1"})


async def test_only_so_many_are_asked_for():
    collector = Asked()
    await gone(collector, *(case(str(number)) for number in range(MOST_ASKED + 5)))
    assert len(collector.asked) == MOST_ASKED


@pytest.mark.parametrize("kind", [directory, case])
async def test_what_the_source_still_has_is_neither_gone_nor_missing(kind):
    assert await gone(Asked(x=True), kind("x", again=True)) == (set(), set())
