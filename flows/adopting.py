"""What Prefect says of a run or a shard beside what is desired of it, and what follows. Pure.

Prefect's buttons change the state of a flow run and nothing else; what they mean is adopted as a verb of ours. What
means nothing, as when a run that works is called failed, is put right. `told` is what Prefect was told last, or said
itself: it tells a pause that Prefect was told from one it was asked for, and so for going on.
"""

from dataclasses import dataclass

from prefect.states import AwaitingRetry, Cancelled, Paused, Running, State, Suspended

from blocks.sql.shards import RETRIED
from collectors.states import Desired, Verb
from flows.prefect_states import OURS

TOLD_PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done: a verb on our side, a state to tell Prefect, and what counts as told from then on."""

    verb: Verb | None = None
    hard: bool = True
    tell: State | None = None
    told: str | None = None


def decided(state: State, wish: Desired, told: str | None, worked_on: bool, at_rest: bool) -> Step:
    """`worked_on`: a process holds its lease; `at_rest`: it is PAUSED in our tables."""
    if wish is Desired.CANCEL:
        return Step(tell=None if state.is_cancelled() or state.is_cancelling() else Cancelled(), told=told)
    if (state.is_cancelled() or state.is_cancelling()) and state.name not in OURS and told != RETRIED:
        return Step(Verb.CANCEL, told=told)
    rests = wish is not Desired.RUN
    if state.is_paused():
        return _paused(state, rests, told, worked_on)
    if state.is_running():
        return _running(rests, told, worked_on and at_rest)
    if state.is_scheduled() or state.is_pending():
        return _scheduled(rests, told, worked_on)
    return _over(rests, worked_on)


def _paused(state: State, rests: bool, told: str | None, worked_on: bool) -> Step:
    reschedules = bool(state.state_details.pause_reschedule)
    # Prefect fails what is paused when its time is over: a pause of ours has none.
    endless = (Suspended() if reschedules else Paused()) if state.state_details.pause_timeout else None
    if rests:
        return Step(tell=endless, told=TOLD_PAUSED)
    if told == TOLD_PAUSED:
        return Step(tell=Running() if worked_on else AwaitingRetry())
    return Step(Verb.PAUSE, hard=reschedules, tell=endless, told=TOLD_PAUSED)


def _running(rests: bool, told: str | None, waits_in_place: bool) -> Step:
    if rests and told == TOLD_PAUSED:
        return Step(Verb.RESUME)
    if rests and waits_in_place:
        return Step(tell=Paused(), told=TOLD_PAUSED)
    return Step(told=told)


def _scheduled(rests: bool, told: str | None, worked_on: bool) -> Step:
    if rests:
        return Step(Verb.RESUME) if told == TOLD_PAUSED else Step(tell=Suspended(), told=TOLD_PAUSED)
    return Step(tell=Running() if worked_on else None)


def _over(rests: bool, worked_on: bool) -> Step:
    if rests:
        return Step(tell=Paused() if worked_on else Suspended(), told=TOLD_PAUSED)
    return Step(tell=Running() if worked_on else AwaitingRetry())
