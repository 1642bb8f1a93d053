"""The tables of moves: complete, closed at their ends, and nothing is stuck."""

import pytest

from collectors.states import OPEN_RUNS, RUN_MOVES, SHARD_MOVES, RunState, ShardState, sources_of

TABLES = [pytest.param(RunState, RUN_MOVES, id="run"), pytest.param(ShardState, SHARD_MOVES, id="shard")]
STARTS = {RunState: RunState.CREATED, ShardState: ShardState.PENDING}


def reachable(start, moves):
    found, todo = {start}, [start]
    for state in todo:
        todo += moves[state] - found
        found |= moves[state]
    return found


@pytest.mark.parametrize(("states", "moves"), TABLES)
def test_every_state_has_its_moves_and_can_be_reached(states, moves):
    assert set(moves) == set(states)
    assert reachable(STARTS[states], moves) == set(states)


@pytest.mark.parametrize(("states", "moves"), TABLES)
def test_what_is_complete_or_cancelled_can_only_be_retried_and_nothing_returns_to_the_start(states, moves):
    assert moves[states.COMPLETED] == {RunState.PAUSED if states is RunState else ShardState.RETRYING}
    assert moves[states.CANCELLED] == (set() if states is RunState else {ShardState.RETRYING})
    assert not sources_of(moves, STARTS[states])


@pytest.mark.parametrize(("states", "moves"), TABLES)
def test_from_every_other_state_completed_can_still_be_reached(states, moves):
    for state in set(states) - {states.COMPLETED, states.CANCELLED}:
        assert states.COMPLETED in reachable(state, moves)


@pytest.mark.parametrize(("states", "moves"), TABLES)
def test_no_state_moves_to_itself(states, moves):
    assert all(state not in targets for state, targets in moves.items())


@pytest.mark.parametrize(("states", "moves"), TABLES)
def test_work_completes_only_while_it_runs(states, moves):
    assert sources_of(moves, states.COMPLETED) == {states.RUNNING}


def test_a_failed_shard_is_retried_before_it_runs():
    assert ShardState.RUNNING not in SHARD_MOVES[ShardState.FAILED]
    assert ShardState.RETRYING in SHARD_MOVES[ShardState.FAILED]


def test_a_partly_completed_or_failed_run_can_be_resumed_or_retried_but_not_cancelled():
    for state in (RunState.PARTIALLY_COMPLETED, RunState.FAILED):
        assert RUN_MOVES[state] == {RunState.RUNNING, RunState.PAUSED}


def test_exactly_the_open_runs_and_shards_can_be_cancelled():
    assert sources_of(RUN_MOVES, RunState.CANCELLED) == OPEN_RUNS
    ended = {ShardState.COMPLETED, ShardState.FAILED, ShardState.CANCELLED}
    assert sources_of(SHARD_MOVES, ShardState.CANCELLED) == set(ShardState) - ended


def test_states_are_stored_as_their_names():
    assert all(state.value == state.name for state in [*RunState, *ShardState])
