"""Closing: paths are repaired in both stores however they became wrong, and a run gets the state it deserves."""

import pytest

from blocks.sql.windows import WINDOW
from collectors.closing import (
    Closing,
    Errors,
    Outcome,
    given_up,
    let_in_nowhere,
    outcome,
    refuse_moved,
    repair_paths,
)
from collectors.errors import Refused
from collectors.models import Collection, Record, Strategy
from collectors.notices import left_empty
from collectors.paths import CUT, LONGEST_PATH
from collectors.quarantine import too_many
from collectors.states import RunState, ShardState


def case(id: str, parent: str | None, name: str | None = None) -> Record:
    return Record(kind="case", id=id, name=name or f"case {id}", parent_id=parent)


def directory(id: str, name: str, parent: str | None = None, deleted: bool = False) -> Record:
    return Record(kind="directory", id=id, name=name, parent_id=parent, deleted=deleted)


def repair(shelf) -> int:
    return repair_paths(
        shelf.storage.rows, shelf.storage.documents, shelf.storage.cache, shelf.tenant, shelf.collection
    )


def levels(shelf) -> dict[str, int | None]:
    return {id: row["level"] for id, row in shelf.rows("directory").items()}


@pytest.fixture
def tree(shelf):
    """1 支付 (2 退款 (3 全额)), 4 other; a case in each, named by its directory's id."""
    shelf.load(
        directory("1", "支付"),
        directory("2", "退款", "1"),
        directory("3", "全额", "2"),
        directory("4", "other"),
        *(case(f"c{id}", id) for id in "1234"),
        observation=1,
    )
    return shelf


def test_right_paths_are_left_alone(tree):
    assert repair(tree) == 0
    assert tree.paths()["c3"] == "/支付/退款/全额/case c3"


def test_a_renamed_directory_renames_everything_below_it(tree):
    tree.load(directory("1", "Pay/ment"), observation=2)
    assert repair(tree) == 5
    assert tree.paths("directory") == {
        "1": "/Pay\\/ment",
        "2": "/Pay\\/ment/退款",
        "3": "/Pay\\/ment/退款/全额",
        "4": "/other",
    }
    assert tree.paths() == {
        "c1": "/Pay\\/ment/case c1",
        "c2": "/Pay\\/ment/退款/case c2",
        "c3": "/Pay\\/ment/退款/全额/case c3",
        "c4": "/other/case c4",
    }
    assert repair(tree) == 0


def test_a_moved_directory_takes_everything_below_it_along(tree):
    tree.load(directory("2", "退款", "4"), observation=2)
    repair(tree)
    assert tree.paths("directory") == {"1": "/支付", "2": "/other/退款", "3": "/other/退款/全额", "4": "/other"}
    assert tree.paths()["c3"] == "/other/退款/全额/case c3"
    tree.load(directory("2", "退款"), observation=3)
    repair(tree)
    assert tree.paths()["c3"] == "/退款/全额/case c3"
    assert levels(tree) == {"1": 0, "2": 0, "3": 1, "4": 0}


def test_only_the_collection_that_is_closed_is_repaired(tree, shelves):
    others = [shelves(collection="another"), shelves("another tenant", tree.collection)]
    for other in others:
        other.load(directory("1", "old"), case("c1", "1"), observation=1)
        other.load(directory("1", "new"), observation=2)
    tree.load(directory("1", "newest"), observation=3)
    repair(tree)
    assert tree.paths()["c1"] == "/newest/case c1"
    assert [other.paths()["c1"] for other in others] == ["/old/case c1"] * 2


def test_what_came_before_its_directory_gets_its_path_when_the_run_closes(shelf):
    shelf.load(case("c", "2"), directory("2", "b", "1"), observation=1)
    assert shelf.paths() == {"c": None}
    shelf.load(directory("1", "a"), observation=2)
    assert shelf.paths() == {"c": None}
    assert repair(shelf) == 2
    assert shelf.paths("directory") == {"1": "/a", "2": "/a/b"}
    assert shelf.paths() == {"c": "/a/b/case c"}


def test_what_lost_its_way_to_the_top_loses_its_path(tree):
    tree.load(directory("1", "支付", "3"), directory("4", "other", "gone"), observation=2)
    repair(tree)
    assert set(tree.paths("directory").values()) == {None}
    assert set(levels(tree).values()) == {None}
    assert set(tree.paths().values()) == {None}
    assert repair(tree) == 0


def test_a_deleted_directory_still_carries_the_paths_below_it(tree):
    tree.load(directory("1", "archived", deleted=True), observation=2)
    repair(tree)
    assert tree.paths()["c3"] == "/archived/退款/全额/case c3"


class Interrupted(Exception):
    pass


class StopsAt:
    """The real rows, out of order at the n-th time something is to be replaced: before and after the documents are,
    of the directories, then of the cases."""

    def __init__(self, rows, times: int) -> None:
        self.directories, self.misplaced_cases = rows.directories, rows.misplaced_cases
        self._replace, self._left = rows.replace, times

    def replace(self, *arguments) -> None:
        self._left -= 1
        if self._left == 0:
            raise Interrupted
        self._replace(*arguments)


@pytest.mark.parametrize("at_last", ["new", "支付", "third"])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_an_interrupted_repair_is_completed_by_the_next_whatever_the_name_is_by_then(tree, times, at_last):
    tree.load(directory("1", "new"), observation=2)
    rows = StopsAt(tree.storage.rows, times)
    with pytest.raises(Interrupted):
        repair_paths(rows, tree.storage.documents, tree.storage.cache, tree.tenant, tree.collection)
    tree.load(directory("1", at_last), observation=3)
    repair(tree)
    assert tree.paths("directory")["3"] == f"/{at_last}/退款/全额"
    assert tree.paths()["c3"] == f"/{at_last}/退款/全额/case c3"
    assert repair(tree) == 0


@pytest.mark.parametrize("name", ["a/b", "a\\b", "\\/", "%_'\"", "x\ny", " ", "支付", "…"])
def test_names_written_otherwise_in_paths_are_not_taken_for_wrong(shelf, name):
    shelf.load(directory("1", name), case("c", "1", name), case("top", None, name), observation=1)
    before = shelf.paths()
    assert repair(shelf) == 0
    assert shelf.paths() == before


def test_shortened_paths_are_not_taken_for_wrong(shelf):
    shelf.load(directory("1", "a" * 600), directory("2", "b" * 600, "1"), case("c", "2", "c" * 300), observation=1)
    assert repair(shelf) == 0
    assert len(shelf.paths()["c"]) == LONGEST_PATH


def test_shortened_paths_are_repaired_to_what_loading_would_have_made(shelves):
    one, two = shelves(), shelves()
    old, new = directory("1", "a" * 600), directory("1", "z" * 600)
    rest = [directory("2", "b" * 500, "1"), case("c", "2", "c" * 300), case("long", "2", "d" * 2_000)]
    one.load(old, *rest, observation=1)
    one.load(new, observation=2)
    repair(one)
    two.load(new, *rest, observation=3)
    assert one.paths("directory") == two.paths("directory")
    assert one.paths() == two.paths()
    assert one.paths("directory")["2"] == CUT + "z" * 498 + "/" + "b" * 500


def test_a_path_that_grows_past_the_longest_is_shortened_and_comes_back_when_it_shrinks(shelf):
    shelf.load(directory("1", "short"), directory("2", "b" * 900, "1"), case("c", "2", "c" * 50), observation=1)
    before = shelf.paths("directory"), shelf.paths()
    shelf.load(directory("1", "l" * 500), observation=2)
    repair(shelf)
    assert shelf.paths()["c"].startswith(CUT)
    shelf.load(directory("1", "short"), observation=3)
    repair(shelf)
    assert (shelf.paths("directory"), shelf.paths()) == before


class Noting:
    """The real documents, and how many were corrected at once."""

    def __init__(self, documents) -> None:
        self._documents, self.at_once = documents, []

    def repath(self, tenant, collection, kind, moves) -> None:
        self.at_once.append(len(moves))
        self._documents.repath(tenant, collection, kind, moves)


def test_very_many_cases_are_repaired_some_at_a_time(shelf):
    count = 2 * WINDOW + 1
    shelf.load(directory("1", "old"), *(case(f"c{n}", "1") for n in range(count)), observation=1)
    shelf.load(directory("1", "new"), observation=2)
    noting = Noting(shelf.storage.documents)
    assert repair_paths(shelf.storage.rows, noting, shelf.storage.cache, shelf.tenant, shelf.collection) == count
    assert shelf.paths() == {f"c{n}": f"/new/case c{n}" for n in range(count)}
    assert noting.at_once == [0, WINDOW, WINDOW, 1]


# ---- outcome ---------------------------------------------------------------------------------------------

DONE, WRONG = (ShardState.COMPLETED, None), (ShardState.FAILED, "it broke")
OPEN = [ShardState.PENDING, ShardState.RUNNING, ShardState.PAUSED, ShardState.RETRYING]
CONTINUE, STOP = Strategy(max_errors=10), Strategy(max_errors=10, on_failure="fail-fast")
COMPLETED = Outcome(RunState.COMPLETED)
PAUSED = Outcome(RunState.PAUSED)
PARTLY = Outcome(RunState.PARTIALLY_COMPLETED, "it broke")
FAILED = Outcome(RunState.FAILED, "it broke")
TOO_MANY = Outcome(RunState.FAILED, str(too_many("r1", 11, CONTINUE.max_errors)))
NONE = Outcome(RunState.FAILED, str(too_many("r1", 1, 0)))


@pytest.mark.parametrize(
    ("shards", "read", "quarantined", "strategy", "expected"),
    [
        pytest.param([], 0, 0, CONTINUE, COMPLETED, id="an empty source is complete"),
        pytest.param([DONE, DONE], 5, 0, CONTINUE, COMPLETED, id="all done"),
        pytest.param([DONE], 0, 0, CONTINUE, COMPLETED, id="done without a record"),
        pytest.param([DONE], 5, 1, CONTINUE, Outcome(RunState.PARTIALLY_COMPLETED), id="one refused"),
        pytest.param([DONE], 50, 10, CONTINUE, Outcome(RunState.PARTIALLY_COMPLETED), id="as many refused as allowed"),
        pytest.param([DONE], 50, 11, CONTINUE, TOO_MANY, id="too many refused"),
        pytest.param([DONE, WRONG], 50, 11, CONTINUE, FAILED, id="too many refused, with the error that says so"),
        pytest.param([DONE], 50, 1, Strategy(max_errors=0), NONE, id="none may be refused"),
        pytest.param([DONE, WRONG], 5, 0, CONTINUE, PARTLY, id="one failed"),
        pytest.param([DONE, WRONG], 5, 0, STOP, FAILED, id="one failed where that stops"),
        pytest.param([WRONG, WRONG], 5, 0, CONTINUE, PARTLY, id="all failed half-way"),
        pytest.param([WRONG], 0, 0, CONTINUE, FAILED, id="all failed at once"),
        pytest.param([DONE, WRONG], 0, 0, CONTINUE, FAILED, id="failed and nothing read"),
        pytest.param([WRONG, (ShardState.FAILED, "later")], 5, 0, CONTINUE, PARTLY, id="the first error is told"),
        pytest.param([(ShardState.PAUSED, "stopped"), DONE], 5, 0, CONTINUE, PAUSED, id="why it paused is no error"),
        pytest.param([WRONG, (ShardState.PAUSED, None)], 5, 0, CONTINUE, PAUSED, id="failed and paused can go on"),
        pytest.param([WRONG, (ShardState.PENDING, None)], 5, 0, STOP, FAILED, id="siblings stopped by a failure"),
        pytest.param([WRONG, (ShardState.PENDING, None)], 0, 0, CONTINUE, FAILED, id="failed before anything was read"),
        pytest.param([(ShardState.PAUSED, None)], 50, 11, CONTINUE, TOO_MANY, id="too many to go on"),
        *(pytest.param([DONE, (state, None)], 5, 1, CONTINUE, PAUSED, id=f"{state} shards are left") for state in OPEN),
    ],
)
def test_a_run_ends_as(shards, read, quarantined, strategy, expected):
    assert outcome("r1", shards, read, quarantined, strategy) == expected


THRESHOLD = Strategy(max_errors="10%", on_failure="threshold")


@pytest.mark.parametrize(
    ("refused", "unread", "state"),
    [(0, 10, RunState.PARTIALLY_COMPLETED), (5, 5, RunState.PARTIALLY_COMPLETED), (5, 6, RunState.FAILED)],
)
def test_what_was_refused_or_not_read_is_held_against_the_threshold(refused, unread, state):
    errors = Errors(planned=100, refused=refused, unread=unread)
    assert outcome("r1", [DONE, WRONG], 80, refused, THRESHOLD, errors=errors).state is state
    assert outcome("r1", [DONE, WRONG], 80, refused, STOP, errors=errors).state is RunState.FAILED


@pytest.mark.parametrize(("strategy", "ends"), [(CONTINUE, False), (STOP, True)])
def test_a_policy_that_needs_no_counts_asks_for_none(strategy, ends):
    def counted():
        raise AssertionError("ten thousand shards may fail, and each would be counted again")

    assert given_up(strategy, counted) is ends


def shard(stage, error=None, state="FAILED"):
    return {"stage": stage, "state": state, "error": error}


FORBIDDEN, DOWN = "COL-0315: no", "COL-0314: away\nmore"


@pytest.mark.parametrize(
    ("cases", "shut_out"),
    [
        ([FORBIDDEN, "COL-0322: no"], True),
        ([FORBIDDEN, DOWN], False),
        ([FORBIDDEN, None], False),
        ([], False),
    ],
)
def test_a_source_that_lets_nobody_into_a_stage_is_no_success(cases, shut_out):
    rows = [shard("directories", state="COMPLETED"), *(shard("cases", each) for each in cases)]
    assert let_in_nowhere(rows) is shut_out
    assert outcome("r1", [DONE, WRONG], 5, 0, CONTINUE, shut_out=shut_out) == (FAILED if shut_out else PARTLY)


def test_one_shard_that_was_read_to_its_end_leaves_it_to_the_policy():
    rows = [shard("cases", FORBIDDEN), shard("cases", FORBIDDEN, state="COMPLETED")]
    assert not let_in_nowhere(rows)
    assert not let_in_nowhere([])


def test_a_run_that_was_stopped_before_all_was_loaded_goes_on_later():
    assert outcome("r1", [DONE, DONE], 5, 0, CONTINUE, loaded=False) == PAUSED


@pytest.mark.parametrize("said", [None, ""])
def test_a_failed_shard_that_gave_no_reason_is_no_complete_run(said):
    ended = outcome("r1", [DONE, (ShardState.FAILED, said)], 5, 0, CONTINUE)
    assert ended.state is RunState.PARTIALLY_COMPLETED


# ---- conclusions -------------------------------------------------------------------------------------------


def test_a_list_that_moved_under_a_shard_forbids_conclusions():
    refuse_moved([])
    with pytest.raises(Refused, match="while cases were read") as error:
        refuse_moved(["cases"])
    assert error.value.code == "COL-0414"


def test_a_range_without_a_case_is_told_from_success():
    everything = Collection(name="cases", collector="testrail", source={})
    part = Collection.model_validate(everything.model_dump() | {"mode": "range", "scope": {"ids": "900000..900010"}})
    assert left_empty(everything, 0) == left_empty(part, 1) == ()
    (said,) = left_empty(part, 0)
    assert said.startswith("COL-0460") and "ids 900000..900010" in said


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.PARTIALLY_COMPLETED])
def test_a_run_that_may_not_conclude_is_complete_in_part_and_nothing_better(state):
    closing = Closing(refused="why")
    assert closing.ended(Outcome(RunState.COMPLETED)) == Outcome(RunState.PARTIALLY_COMPLETED, "why")
    assert closing.ended(Outcome(state, "worse")) == Outcome(state, "worse")
    assert Closing().ended(Outcome(RunState.COMPLETED)) == Outcome(RunState.COMPLETED)
