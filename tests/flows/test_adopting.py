"""What follows from what Prefect says, for every state, wish and memory."""

import pytest
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    Suspended,
)

from blocks.sql.shards import RETRIED
from collectors.states import Desired, Verb
from flows.adopting import TOLD_PAUSED, Step, decided

RUN, PAUSE, STOP, CANCEL = Desired.RUN, Desired.PAUSE, Desired.STOP, Desired.CANCEL
WORKS, RESTS, NOBODY = (True, False), (True, True), (False, False)
OVER_SOON = Suspended(timeout_seconds=300)
# state, wish, told, (worked on, at rest): verb, state that is told, told from then on
CASES = {
    "Pause of the page": ((OVER_SOON, RUN, None, WORKS), (Verb.PAUSE, "Suspended", TOLD_PAUSED)),
    "Pause while nobody works": ((OVER_SOON, RUN, None, NOBODY), (Verb.PAUSE, "Suspended", TOLD_PAUSED)),
    "its end is taken away once": ((Suspended(), STOP, TOLD_PAUSED, NOBODY), (None, None, TOLD_PAUSED)),
    "Pause of what was paused by us": ((OVER_SOON, PAUSE, None, WORKS), (None, "Suspended", TOLD_PAUSED)),
    "Resume of the page": ((Scheduled(), STOP, TOLD_PAUSED, NOBODY), (Verb.RESUME, None, None)),
    "Resume of what waits in place": ((Running(), PAUSE, TOLD_PAUSED, RESTS), (Verb.RESUME, None, None)),
    "Retry of what is paused": ((AwaitingRetry(), STOP, TOLD_PAUSED, NOBODY), (Verb.RESUME, None, None)),
    "paused by us before it began": ((Scheduled(), PAUSE, None, NOBODY), (None, "Suspended", TOLD_PAUSED)),
    "paused by us while it works": ((Running(), PAUSE, None, WORKS), (None, None, None)),
    "paused by us, waits in place": ((Running(), PAUSE, None, RESTS), (None, "Paused", TOLD_PAUSED)),
    "resumed by us": ((Suspended(), RUN, TOLD_PAUSED, NOBODY), (None, "AwaitingRetry", None)),
    "resumed by us in place": ((Paused(), RUN, TOLD_PAUSED, WORKS), (None, "Running", None)),
    "Cancel of the page": ((Cancelling(), RUN, None, WORKS), (Verb.CANCEL, None, None)),
    "Cancel of what is paused": ((Cancelled(), STOP, TOLD_PAUSED, NOBODY), (Verb.CANCEL, None, TOLD_PAUSED)),
    "retried by us after its Cancel": ((Cancelled(), RUN, RETRIED, NOBODY), (None, "AwaitingRetry", None)),
    "cancelled by us": ((Running(), CANCEL, None, WORKS), (None, "Cancelled", None)),
    "cancelled on both sides": ((Cancelling(), CANCEL, None, WORKS), (None, None, None)),
    "a process left": ((Cancelled(name="TakenOver"), RUN, None, NOBODY), (None, "AwaitingRetry", None)),
    "Retry of what works": ((AwaitingRetry(), RUN, None, WORKS), (None, "Running", None)),
    "waits for a worker": ((Pending(), RUN, None, NOBODY), (None, None, None)),
    "works": ((Running(), RUN, None, WORKS), (None, None, None)),
    "called failed while it works": ((Failed(), RUN, None, WORKS), (None, "Running", None)),
    "failed by the end of a pause": ((Failed(), PAUSE, TOLD_PAUSED, RESTS), (None, "Paused", TOLD_PAUSED)),
    "failed by the end of a pause, left": ((Failed(), STOP, TOLD_PAUSED, NOBODY), (None, "Suspended", TOLD_PAUSED)),
    "crashed": ((Crashed(), RUN, None, NOBODY), (None, "AwaitingRetry", None)),
    "complete there and not here": ((Completed(), RUN, None, NOBODY), (None, "AwaitingRetry", None)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_follows(case):
    (state, wish, told, standing), (verb, tell, told_then) = CASES[case]
    step = decided(state, wish, told, *standing)
    assert (step.verb, step.tell and step.tell.name, step.told) == (verb, tell, told_then)


STATES = (Scheduled, Pending, Running, Paused, Suspended, Cancelling, Cancelled, Completed, Failed, Crashed)


@pytest.mark.parametrize("made", STATES)
@pytest.mark.parametrize("wish", [RUN, PAUSE, STOP, CANCEL])
@pytest.mark.parametrize("told", [None, TOLD_PAUSED, RETRIED])
@pytest.mark.parametrize("standing", [WORKS, RESTS, NOBODY])
def test_it_comes_to_rest(made, wish, told, standing):
    """What is told is not told again, and no verb is adopted for ever: two steps later nothing follows any more."""
    state, wishes = made(), {Verb.PAUSE: STOP, Verb.RESUME: RUN, Verb.CANCEL: CANCEL}
    for _ in range(4):
        step = decided(state, wish, told, *standing)
        wish, state, told = wishes.get(step.verb, wish), step.tell or state, step.told
    assert decided(state, wish, told, *standing) == Step(told=told)
