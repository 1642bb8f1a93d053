"""The end of a run: paths that changed above are put right, and the run gets the state it deserves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from collectors.caching import keys_of_moves
from collectors.interfaces import Cache, Documents
from collectors.models import Strategy
from collectors.paths import Move, Place, below, derive
from collectors.states import RunState, ShardState


class Tree(Protocol):
    """What closing needs of the rows."""

    def directories(
        self, tenant: str, collection: str
    ) -> list[tuple[str, str | None, str, str | None, int | None]]: ...

    def misplaced_cases(self, tenant: str, collection: str) -> list[tuple[str, str | None, str, str | None]]: ...

    def replace(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None: ...


def repair_paths(tree: Tree, documents: Documents, cache: Cache, tenant: str, collection: str) -> int:
    """Derive every path anew from names and parents, and correct what differs. Returns how many were corrected.

    Documents are corrected before rows: the rows are what is compared, so an interruption leaves work to be found.
    """
    of = tenant, collection
    stored = tree.directories(*of)
    places = derive((id, parent, name) for id, parent, name, _, _ in stored)
    directories = {
        Move(id, path, places[id]): parent
        for id, parent, _, path, level in stored
        if (path, level) != (places[id] or (None, None))
    }
    _correct(tree, documents, cache, of, "directory", directories)
    cases = {
        Move(id, path, _case_place(places, parent, name)): parent
        for id, parent, name, path in tree.misplaced_cases(*of)
    }
    cases = {move: parent for move, parent in cases.items() if move.found != (move.place and move.place.path)}
    _correct(tree, documents, cache, of, "case", cases)
    return len(directories) + len(cases)


def _correct(
    tree: Tree, documents: Documents, cache: Cache, of: tuple[str, str], kind: str, parents: Mapping[Move, str | None]
) -> None:
    stale, moves = keys_of_moves(*of, kind, parents), list(parents)
    cache.drop(of[0], stale)  # a cache that cannot be told is noticed while there is still work to be found
    documents.repath(*of, kind, moves)
    tree.replace(*of, kind, moves)
    cache.drop(of[0], stale)


def _case_place(places: dict[str, Place | None], parent: str | None, name: str) -> Place | None:
    above = places.get(parent) if parent else None
    return below(above, name) if above or parent is None else None


@dataclass(frozen=True, slots=True)
class Outcome:
    state: RunState
    error: str | None = None


def outcome(
    shards: Sequence[tuple[ShardState, str | None]], read: int, quarantined: int, strategy: Strategy
) -> Outcome:
    """How a run ends whose shards stand like this, as (state, error)."""
    states = [state for state, _ in shards]
    error = next((error for state, error in shards if state is ShardState.FAILED), None)
    if quarantined > strategy.max_errors:
        return Outcome(RunState.FAILED, error)
    if ShardState.FAILED in states and (not read or strategy.on_failure == "stop"):
        return Outcome(RunState.FAILED, error)
    if any(state not in (ShardState.COMPLETED, ShardState.FAILED) for state in states):
        return Outcome(RunState.PAUSED)
    if ShardState.FAILED in states or quarantined:
        return Outcome(RunState.PARTIALLY_COMPLETED, error)
    return Outcome(RunState.COMPLETED)
