"""The end of a run: paths that changed above are put right, and the run gets the state it deserves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from collectors.caching import keys_of
from collectors.errors import NOT_LET_IN, Refused, parted
from collectors.interfaces import Cache, Documents
from collectors.models import Model, Strategy, errors_within
from collectors.paths import Misplaced, Move, Place, below, derive
from collectors.quality import Finding
from collectors.quarantine import too_many
from collectors.states import ENDED_SHARDS, RunState, ShardState


class Tree(Protocol):
    """What closing needs of the rows."""

    def directories(
        self, tenant: str, collection: str
    ) -> list[tuple[str, str | None, str, str | None, int | None, str]]: ...

    def misplaced_cases(self, tenant: str, collection: str) -> Iterable[list[Misplaced]]: ...

    def replace(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None: ...


def repair_paths(tree: Tree, documents: Documents, cache: Cache, tenant: str, collection: str) -> int:
    """Derive every path anew from names and parents, and correct what differs. Returns how many were corrected."""
    number, places = _put_right(tree, documents, cache, tenant, collection)
    for some in tree.misplaced_cases(tenant, collection):
        cases = [Move(id, path, _case_place(places, parent, name), at) for id, parent, name, path, at in some]
        cases = [move for move in cases if move.found != (move.place and move.place.path)]
        _correct(tree, documents, cache, tenant, collection, "case", cases)
        number += len(cases)
    return number


def repair_directories(tree: Tree, documents: Documents, cache: Cache, tenant: str, collection: str) -> int:
    """The same for directories alone, so that what hangs below them gets its place at once."""
    return _put_right(tree, documents, cache, tenant, collection)[0]


def _put_right(
    tree: Tree, documents: Documents, cache: Cache, tenant: str, collection: str
) -> tuple[int, dict[str, Place | None]]:
    """How many directories had to be corrected, and the places of all."""
    stored = tree.directories(tenant, collection)
    places = derive((id, parent, name) for id, parent, name, *_ in stored)
    moves = [
        Move(id, path, places[id], version)
        for id, _, _, path, level, version in stored
        if (path, level) != (places[id] or (None, None))
    ]
    _correct(tree, documents, cache, tenant, collection, "directory", moves)
    return len(moves), places


def _correct(
    tree: Tree, documents: Documents, cache: Cache, tenant: str, collection: str, kind: str, moves: Sequence[Move]
) -> None:
    """The rows are what is compared: until the documents are right they have no path, so that an interruption leaves
    work to be found, whatever becomes of the names."""
    stale = keys_of(tenant, collection, ((kind, move.id) for move in moves))
    cache.drop(tenant, stale)  # a cache that cannot be told is noticed while there is still work to be found
    tree.replace(tenant, collection, kind, [move._replace(place=None) for move in moves])
    documents.repath(tenant, collection, kind, moves)
    tree.replace(tenant, collection, kind, [move._replace(found=None) for move in moves if move.place])
    cache.drop(tenant, stale)


def _case_place(places: dict[str, Place | None], parent: str | None, name: str) -> Place | None:
    above = places.get(parent) if parent else None
    return below(above, name) if above or parent is None else None


@dataclass(frozen=True, slots=True)
class Errors:
    """What went wrong in a run, in records: those that were refused, and those that failed shards did not read."""

    planned: int
    refused: int = 0
    unread: int = 0


NO_ERRORS = Errors(0)


def given_up(strategy: Strategy, counted: Callable[[], Errors]) -> bool:
    """Whether a run in which a shard failed is not worth going on with. Counted only where the policy asks for it:
    ten thousand shards may fail."""
    if strategy.on_failure != "threshold":
        return strategy.on_failure == "fail-fast"
    errors = counted()
    return errors.refused + errors.unread > errors_within(strategy.max_errors, errors.planned)


def let_in_nowhere(shards: Iterable[Mapping[str, Any]]) -> bool:
    """Whether there is a stage of which the source let us read no shard to its end. Of rows of shards."""
    stages: dict[str, bool] = {}
    for each in shards:
        refused = each["state"] == ShardState.FAILED and parted(each["error"] or "")[0] in NOT_LET_IN
        stages[each["stage"]] = stages.get(each["stage"], True) and refused
    return any(stages.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    state: RunState
    error: str | None = None


class Closing(Model):
    """What the end of a run found and did."""

    deleted: int = 0  # tombstones of its sweep
    notices: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()  # what is wrong with the tree, as its source has it
    refused: str | None = None  # why nothing may be concluded from what was not seen

    def and_also(self, *, notices: Sequence[str] = (), findings: Sequence[Finding] = ()) -> "Closing":
        told = {"notices": (*self.notices, *notices), "findings": (*self.findings, *findings)}
        return self.model_copy(update=told)

    def ended(self, end: Outcome) -> Outcome:
        """A run that is complete but for its conclusions is complete in part."""
        if self.refused and end.state is RunState.COMPLETED:
            return Outcome(RunState.PARTIALLY_COMPLETED, self.refused)
        return end


def refuse_moved(labels: Iterable[str]) -> None:
    """Raises Refused when the source's list moved under some of the shards."""
    if moved := list(labels):
        raise Refused(
            "the source's list moved while {shards} were read: nothing is deleted, and the watermark stays",
            "Collect it again when less is changed there.",
            code="COL-0414",
            shards=", ".join(moved[:3]),
        )


def _given_up_in_part(run_id: str, shards: int) -> Refused:
    return Refused(
        "{count} shards were cancelled: what they had not read is missing",
        "Read it after all: collect shards {run} names them, collect retry {run} SHARD goes on.",
        code="COL-0432",
        count=shards,
        run=run_id,
    )


def outcome(
    run_id: str,
    shards: Sequence[tuple[ShardState, str | None]],
    read: int,
    quarantined: int,
    strategy: Strategy,
    loaded: bool = True,
    errors: Errors = NO_ERRORS,
    shut_out: bool = False,
) -> Outcome:
    """How a run ends whose shards stand like this, each as (state, error).

    `loaded`: everything that was read is in the stores; `shut_out`: the source let nobody in (`let_in_nowhere`).
    """
    states = [state for state, _ in shards]
    error = next((error for state, error in shards if state is ShardState.FAILED), None)
    allowed = errors_within(strategy.max_errors, errors.planned)
    if quarantined > allowed:
        return Outcome(RunState.FAILED, error or str(too_many(run_id, quarantined, allowed)))
    if ShardState.FAILED in states and (shut_out or not read or given_up(strategy, lambda: errors)):
        return Outcome(RunState.FAILED, error)
    if not loaded or any(state not in ENDED_SHARDS for state in states):
        return Outcome(RunState.PAUSED)
    if cancelled := states.count(ShardState.CANCELLED):
        return Outcome(RunState.PARTIALLY_COMPLETED, error or str(_given_up_in_part(run_id, cancelled)))
    if ShardState.FAILED in states or quarantined:
        return Outcome(RunState.PARTIALLY_COMPLETED, error)
    return Outcome(RunState.COMPLETED)
