"""What is gone of what a complete sweep did not see: by the source, an earlier sweep, or what it hung below."""

import pytest

from collectors.errors import Misconfigured, NotAllowed
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
    certain, there, uncertain = await judged(unseen, collector)
    assert sorted([*certain, *there, *uncertain], key=str) == sorted(unseen, key=str)
    return {each.id for each in certain}, {each.id for each in uncertain}


async def test_without_a_source_to_ask_a_second_sweep_is_needed():
    assert await gone(Silent(), case("1"), case("2", again=True)) == ({"2"}, {"1"})


async def test_the_source_decides_what_it_tells_of_and_a_second_sweep_the_rest():
    found = await gone(Asked(a=True, b=False), case("a", again=True), case("b"), case("c"), case("d", again=True))
    assert found == ({"b", "d"}, {"c"})


async def test_what_hangs_below_a_directory_that_is_gone_is_asked_for_as_well():
    collector = Asked(top=False, low=True, **{"1": False, "2": True})
    found = await gone(
        collector, case("1", "low"), directory("low", "top"), directory("top", "living"), case("2", "top")
    )
    assert found == ({"top", "1"}, set())
    assert sorted(collector.asked) == ["1", "2", "low", "top"]


async def test_of_too_many_to_be_asked_for_those_below_a_directory_that_is_gone_go_with_it():
    many = [case(str(number), "top") for number in range(MOST_ASKED + 5)]
    asked = Asked(top=False, **{each.id: False for each in many})
    assert await gone(asked, directory("top"), *many) == ({"top", *(each.id for each in many)}, set())
    one_elsewhere = Asked(top=False, **{each.id: each.id == "7" for each in many})
    certain, uncertain = await gone(one_elsewhere, directory("top"), *many)
    assert uncertain == {each.id for each in many[MOST_ASKED:]}
    assert "7" not in certain


async def test_what_was_not_asked_for_is_not_taken_for_not_told_and_comes_first_the_next_time():
    many = [case(str(number), "living") for number in range(MOST_ASKED)]
    late = [case(f"late {number}", "living", again=True) for number in range(5)]
    asked = Asked(**{each.id: True for each in [*many, *late]})
    assert await gone(asked, *many, *late) == (set(), {each.id for each in many[MOST_ASKED - 5 :]})
    assert asked.asked[:5] == [each.id for each in late]


async def test_what_has_moved_out_of_it_before_is_not():
    found = await gone(Asked(top=False, moved=True), directory("top"), case("moved", "living"), case("left", "top"))
    assert found == ({"top"}, {"left"})


async def test_below_a_directory_that_is_there_each_is_asked_for():
    collector = Asked(top=True, low=False)
    found = await gone(collector, directory("top"), directory("low", "top"), case("1", "low"), case("2", "top"))
    assert found == ({"low"}, {"1", "2"})
    assert collector.asked == ["top", "low", "1", "2"]


async def test_directories_in_a_circle_end():
    found = await gone(Silent(), directory("a", "b"), directory("b", "a", again=True))
    assert found == ({"b"}, {"a"})


async def test_a_source_that_does_not_let_itself_be_asked_has_said_nothing():
    class Forbidding:
        async def exist(self, kind, ids):
            raise NotAllowed("no", "")

    assert await gone(Forbidding(), case("1"), case("2", again=True)) == ({"2"}, {"1"})


async def test_a_web_page_as_answer_is_not_taken_for_not_told():
    class LoggedOut:
        async def exist(self, kind, ids):
            raise Misconfigured("a web page", "", code="COL-0312")

    with pytest.raises(Misconfigured):
        await gone(LoggedOut(), case("2", again=True))


async def test_only_so_many_are_asked_for():
    collector = Asked()
    await gone(collector, *(case(str(number)) for number in range(MOST_ASKED + 5)))
    assert len(collector.asked) == MOST_ASKED


@pytest.mark.parametrize("kind", [directory, case])
async def test_what_the_source_still_has_is_neither_gone_nor_missing(kind):
    assert await gone(Asked(x=True), kind("x", again=True)) == (set(), set())
