"""The states of runs and shards, and the only moves between them.

`docs/states.md` draws these tables; a test holds the picture against them.
"""

from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class RunState(StrEnum):
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ShardState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Desired(StrEnum):
    """What somebody wants of a run; the state follows as soon as its worker has checkpointed."""

    RUN = "run"
    PAUSE = "pause"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.CREATED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(
        {
            RunState.PAUSED,
            RunState.COMPLETED,
            RunState.PARTIALLY_COMPLETED,
            RunState.FAILED,
            RunState.CANCELLED,
        }
    ),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    # Who asks for a retry leaves the run PAUSED, for whoever leads it next.
    RunState.PARTIALLY_COMPLETED: frozenset({RunState.RUNNING, RunState.PAUSED}),
    RunState.FAILED: frozenset({RunState.RUNNING, RunState.PAUSED}),
    RunState.COMPLETED: frozenset({RunState.PAUSED}),
    RunState.CANCELLED: frozenset(),
}

SHARD_MOVES: dict[ShardState, frozenset[ShardState]] = {
    ShardState.PENDING: frozenset({ShardState.RUNNING, ShardState.CANCELLED}),
    ShardState.RUNNING: frozenset(
        {
            ShardState.PAUSED,
            ShardState.RETRYING,
            ShardState.COMPLETED,
            ShardState.FAILED,
            ShardState.CANCELLED,
        }
    ),
    ShardState.PAUSED: frozenset({ShardState.RUNNING, ShardState.CANCELLED}),
    ShardState.RETRYING: frozenset({ShardState.RUNNING, ShardState.CANCELLED}),
    ShardState.FAILED: frozenset({ShardState.RETRYING}),
    ShardState.COMPLETED: frozenset({ShardState.RETRYING}),
    ShardState.CANCELLED: frozenset(),
}

OPEN_RUNS = frozenset({RunState.CREATED, RunState.RUNNING, RunState.PAUSED})


def sources_of(moves: dict[State, frozenset[State]], target: State) -> frozenset[State]:
    """The states from which `target` may be entered; `UPDATE ... WHERE state IN (these)` is how a move is made."""
    return frozenset(state for state, targets in moves.items() if target in targets)
