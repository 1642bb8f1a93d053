"""What a run is about: which records belong to it, and what is said of a part that is not there."""

import re

import pytest
from pydantic import ValidationError

from collectors.errors import Misconfigured
from collectors.models import Collection, Keys, Page, Record, Scope, Stage
from collectors.selecting import Selection, surveyed, wanted

NAMED = {"name": "cases", "collector": "testrail", "source": {"base_url": "http://x"}}


class Whole:
    """A source that can only be read whole: two directories, one in the other."""

    async def survey(self):
        return [Stage(name="directories", extent=Keys(weights=(("all", 2),)))]

    async def fetch(self, stage, span, cursor):
        items = [("1", None, "支付"), ("2", "1", "退款"), ("3", "2", "a/b")]
        at = cursor or 0
        return Page(items[at : at + 1], at + 1 if at < 2 else None)

    def map(self, stage, item):
        id, parent, name = item
        return Record(kind="directory", id=id, parent_id=parent, name=name)


class Dated(Whole):
    """One that can be asked for what changed."""

    def __init__(self):
        self.selected = []

    async def select(self, chosen):
        self.selected.append(chosen)
        return []

    def changed_at(self, record):
        return record.source_version or None


def case(id="1", parent="d", at=0):
    return Record(kind="case", id=id, parent_id=parent, name="n", source_version=at)


def takes(selection, *records):
    taken = selection.takes(Dated().changed_at)
    return [record.id for record in records if taken(record)]


def range_of(**scope):
    return Collection(**NAMED, mode="range", scope=scope)


# ---- records -----------------------------------------------------------------------------------------------


def test_both_ends_of_a_range_belong_to_it():
    cases = [case(str(number), at=number) for number in range(1, 6)]
    assert takes(Selection(first=2, last=4), *cases) == ["2", "3", "4"]
    assert takes(Selection(since=2, until=4), *cases) == ["2", "3", "4"]
    assert takes(Selection(first=4), *cases) == ["4", "5"]
    assert takes(Selection(last=2), *cases) == ["1", "2"]


def test_zero_is_a_number_and_a_time():
    assert takes(Selection(first=0, last=0), case("0"), case("1")) == ["0"]
    assert takes(Selection(until=0), case("1", at=5)) == []


def test_ids_are_compared_as_numbers():
    assert takes(Selection(first=9, last=10), case("9"), case("10"), case("100"), case("x"), case("٩")) == ["9", "10"]


def test_a_case_of_which_nobody_knows_when_it_changed_is_taken():
    assert takes(Selection(since=5), case("1", at=0), case("2", at=4)) == ["1"]


def test_all_of_it_has_to_hold_and_directories_are_taken_always():
    selection = Selection(first=2, directories=("d",))
    other = Record(kind="directory", id="x", name="n")
    assert takes(selection, case("1"), case("2"), case("3", "e"), other) == ["2", "x"]


# ---- asking the source -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "ids"), [("/支付", "123"), ("支付/退款/", "23"), ("/", "123")])
async def test_a_path_means_the_directory_and_all_below(path, ids):
    assert (await wanted(range_of(under=path), None, Whole())).directories == tuple(ids)


class Deep(Whole):
    """Directories whose paths are longer than a path may be."""

    async def fetch(self, stage, span, cursor):
        return Page([(str(level), str(level - 1) if level else None, f"{level}" * 240) for level in range(8)], None)


async def test_what_lies_deeper_than_a_path_can_tell_belongs_to_it():
    assert len((await wanted(range_of(under="/" + "0" * 240), None, Deep())).directories) == 8
    assert len((await wanted(range_of(under=f"/{'0' * 240}/{'1' * 240}"), None, Deep())).directories) == 7


class Slashes(Whole):
    """Names that hold slashes: one ends with it, its sibling goes on behind it."""

    async def fetch(self, stage, span, cursor):
        return Page([("1", None, "a/"), ("2", None, "a/x"), ("3", "1", "x"), ("4", None, "a\\")], None)


@pytest.mark.parametrize(
    ("path", "ids"),
    [("/a\\/", "13"), ("a\\//", "13"), ("/a\\/x", "2"), ("/a\\//x/", "3"), ("/a\\\\/", "4"), ("//", "1234")],
)
async def test_a_slash_at_the_end_of_a_name_belongs_to_it(path, ids):
    assert (await wanted(range_of(under=path), None, Slashes())).directories == tuple(ids)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/支付/x", "/支付 is there, with /支付/退款 below"),
        ("/x/y", "/ is there, with /支付 below"),
        ("/支付/退款/x/y", "/支付/退款 is there"),
    ],
)
async def test_of_a_path_that_is_not_there_it_is_said_which_part_is(path, there):
    with pytest.raises(Misconfigured) as error:
        await wanted(range_of(under=path), None, Whole())
    assert error.value.code == "COL-0271"
    assert there in error.value.what


async def test_a_directory_with_a_slash_in_its_name_is_among_those_that_are_there():
    with pytest.raises(Misconfigured, match=re.escape(r"with /a\/, /a\/x, /a\\ below")):
        await wanted(range_of(under="/a/x"), None, Slashes())


async def test_an_incremental_run_looks_back_behind_the_watermark():
    collection = Collection(**NAMED, mode="incremental")
    for mark, since in ((0, 0.0), (1_000_000_000, 700.0)):
        selection = await wanted(collection, mark, source := Dated())
        assert (selection.since, selection.note) == (since, None)
        await surveyed(source, selection)
        assert source.selected == [selection]


@pytest.mark.parametrize(("source", "mark", "code"), [(Dated(), None, "COL-0420"), (Whole(), 5, "COL-0419")])
async def test_without_a_watermark_or_a_source_that_can_be_asked_all_is_read_and_that_is_said(source, mark, code):
    selection = await wanted(Collection(**NAMED, mode="incremental"), mark, source)
    assert selection.note.startswith(code)
    assert [stage.name for stage in await surveyed(source, selection)] == ["directories"]


async def test_a_source_that_tells_no_times_is_not_asked_for_some():
    with pytest.raises(Misconfigured) as error:
        await wanted(range_of(since="2026-01-01T00:00:00Z"), None, Whole())
    assert error.value.code == "COL-0272"


# ---- what cannot be meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        ({"ids": "9..1"}, "empty range"),
        ({"ids": "a..b"}, "pattern"),
        ({"ids": ""}, "pattern"),
        ({"under": ""}, "at least 1"),
        ({"since": "2026-01-01T00:00:00"}, "timezone"),
        ({"since": "yesterday"}, "datetime"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since comes after until"),
    ],
)
def test_a_scope_that_holds_nothing_is_refused(scope, why):
    with pytest.raises(ValidationError, match=why):
        range_of(**scope)


@pytest.mark.parametrize(
    ("ids", "bounds"), [("1..2", (1, 2)), ("1..", (1, None)), ("..2", (None, 2)), ("7", (7, 7)), ("0", (0, 0))]
)
def test_numbers_are_read_as_they_are_written(ids, bounds):
    assert Scope(ids=ids).bounds == bounds


@pytest.mark.parametrize(
    ("mode", "scope"), [("full", {"ids": "1..2"}), ("incremental", {"under": "/a"}), ("range", {})]
)
def test_a_scope_belongs_to_a_range_and_to_it_alone(mode, scope):
    with pytest.raises(ValidationError, match="scope"):
        Collection(**NAMED, mode=mode, scope=scope)
