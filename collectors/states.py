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
    """What somebody wants of a run or a shard; the state follows as soon as its worker has checkpointed.

    The later ones outweigh the earlier ones: a shard does what the stronger of its own and its run's wish says.
    """

    RUN = "run"
    PAUSE = "pause"  # its process stays, and goes on within a second
    LEAVE = "leave"  # its process leaves, and whoever likes may go on: Ctrl-C, Prefect is gone
    STOP = "stop"  # its process leaves, and nobody goes on before somebody says so
    CANCEL = "cancel"


TO_REST = (Desired.PAUSE, Desired.STOP)  # until somebody says otherwise


def stronger(one: Desired, other: Desired) -> Desired:
    return max(one, other, key=[*Desired].index)


class Verb(StrEnum):
    """What people ask of runs and shards."""

    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    CANCEL = "cancel"


# What is shown while a state does not follow yet what is desired.
PAUSING, RESUMING, CANCELLING = "PAUSING", "RESUMING", "CANCELLING"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.CREATED: frozenset({RunState.RUNNING, RunState.PAUSED, RunState.FAILED, RunState.CANCELLED}),
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
    # What cannot be begun on a work pool fails without having run.
    ShardState.PENDING: frozenset({ShardState.RUNNING, ShardState.PAUSED, ShardState.FAILED, ShardState.CANCELLED}),
    ShardState.RUNNING: frozenset(
        {
            ShardState.PAUSED,
            ShardState.RETRYING,
            ShardState.COMPLETED,
            ShardState.FAILED,
            ShardState.CANCELLED,
        }
    ),
    ShardState.PAUSED: frozenset({ShardState.RUNNING, ShardState.FAILED, ShardState.CANCELLED}),
    ShardState.RETRYING: frozenset({ShardState.RUNNING, ShardState.PAUSED, ShardState.FAILED, ShardState.CANCELLED}),
    ShardState.FAILED: frozenset({ShardState.RETRYING}),
    ShardState.COMPLETED: frozenset({ShardState.RETRYING}),
    ShardState.CANCELLED: frozenset({ShardState.RETRYING}),
}

OPEN_RUNS = frozenset({RunState.CREATED, RunState.RUNNING, RunState.PAUSED})
ENDED_SHARDS = frozenset({ShardState.COMPLETED, ShardState.FAILED, ShardState.CANCELLED})

# What is shown of a run or a shard, and which verbs it takes then; one that is so already does no harm.
# Whatever is not here is refused.
RUN_VERBS: dict[Verb, frozenset[str]] = {
    Verb.PAUSE: frozenset({"CREATED", "RUNNING", PAUSING, "PAUSED", RESUMING}),
    Verb.RESUME: frozenset({"CREATED", "RUNNING", "PAUSED", RESUMING}),
    Verb.RETRY: frozenset({"RUNNING", "PAUSED", RESUMING, "COMPLETED", "PARTIALLY_COMPLETED", "FAILED"}),
    Verb.CANCEL: frozenset({"CREATED", "RUNNING", PAUSING, "PAUSED", RESUMING, CANCELLING, "CANCELLED"}),
}
SHARD_VERBS: dict[Verb, frozenset[str]] = {
    Verb.PAUSE: frozenset({"PENDING", "RUNNING", "RETRYING", PAUSING, "PAUSED", RESUMING}),
    Verb.RESUME: frozenset({"PENDING", "RUNNING", "RETRYING", "PAUSED", RESUMING}),
    Verb.RETRY: frozenset({"FAILED", "CANCELLED", "COMPLETED"}),
    Verb.CANCEL: frozenset({"PENDING", "RUNNING", "RETRYING", PAUSING, "PAUSED", RESUMING, CANCELLING, "CANCELLED"}),
}


def shown(state: RunState | ShardState, desired: Desired, worked_on: bool, awaited: bool = False) -> str:
    """A state as people see it, who asked for another one.

    `worked_on`: whether a process holds the lease that may be alive; nobody else keeps a wish from being fulfilled.
    `awaited`: whether somebody is about to go on with it.
    """
    if state in ("CREATED", "RUNNING") and desired is Desired.CANCEL:
        return CANCELLING if worked_on else "CANCELLED"
    if state in ("CREATED", "RUNNING") and desired is not Desired.RUN:
        return PAUSING if worked_on else "PAUSED"
    if state == "PAUSED" and desired is Desired.CANCEL:
        return CANCELLING
    return RESUMING if state == "PAUSED" and desired is Desired.RUN and awaited else str(state)


def sources_of(moves: dict[State, frozenset[State]], target: State) -> frozenset[State]:
    """The states from which `target` may be entered; `UPDATE ... WHERE state IN (these)` is how a move is made."""
    return frozenset(state for state, targets in moves.items() if target in targets)
