"""Every verb in every state: what it does, what it leaves alone, and what it refuses."""

import pytest

from blocks.process import this_process
from blocks.sql import control as verbs
from blocks.sql.catalog import Catalog
from blocks.sql.control import Control
from blocks.sql.requests import Requests
from blocks.sql.shards import Shards
from collectors.errors import Fenced, Misconfigured, Refused
from collectors.models import ShardPlan
from collectors.states import ENDED_SHARDS, RUN_VERBS, SHARD_MOVES, SHARD_VERBS, Desired, RunState, ShardState, Verb

ME, ELSEWHERE = this_process(), "elsewhere:1:1"  # of another machine nobody knows that it is gone
SHOWN = ("PAUSING", "RESUMING", "CANCELLING")
RUN_STATES = (*RunState, *SHOWN)
SHARD_STATES = (*ShardState, *SHOWN)
AS_STORED = {
    "PAUSING": ("RUNNING", "pause"),
    "RESUMING": ("PAUSED", "run"),
    "CANCELLING": ("RUNNING", "cancel"),
    "PAUSED": ("PAUSED", "pause"),
}


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def control(database):
    return Control(database)


@pytest.fixture
def run(catalog, definition):
    """A run of two shards that a process leads; it reads the first one."""
    claim = catalog.lead(catalog.begin(definition(), ELSEWHERE).run_id, ELSEWHERE)
    catalog.save_plan(
        claim, [ShardPlan(shard_id=id, stage="cases", label=id, span={}, estimate=10) for id in ("s1", "s2")], 1.0
    )
    return claim


@pytest.fixture
def reads(database, run):
    return Shards(database).claim(run.run_id, "s1", ELSEWHERE)


@pytest.fixture
def stands(database, alter, control):
    """Leaves a run, or a shard, as it is called; of a shard that is not worked on nobody holds the lease."""

    def standing(table, run_id, shown):
        state, desired = AS_STORED.get(shown, (shown, "run"))
        worked_on = shown in ("RUNNING", *SHOWN)
        lease = "lease_until" if worked_on else "0"
        alter(
            database,
            f"UPDATE {table} SET state = ?, desired = ?, lease_until = {lease} WHERE run_id = ?",
            *(state, desired, run_id),
        )

    return standing


def do(control, verb, run_id, shard_id=None):
    if verb is Verb.RETRY:
        return control.retry(run_id, "specific" if shard_id else "failed", (shard_id,) if shard_id else ())
    return getattr(control, verb)(run_id, shard_id)


AFTER = {
    Verb.PAUSE: {"PAUSING", "PAUSED"},
    Verb.RESUME: {"RUNNING", "RESUMING", "CREATED", "PENDING", "RETRYING", "PAUSED"},
    Verb.CANCEL: {"CANCELLING", "CANCELLED"},
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", RUN_STATES)
def test_a_run(control, database, dump, run, reads, stands, alter, state, verb):
    alter(database, "UPDATE shard SET state = 'FAILED', lease_until = 0 WHERE run_id = ?", run.run_id)
    stands("run", run.run_id, state)
    assert control.look(run.run_id).state == state
    if state not in RUN_VERBS[verb]:
        before = dump(database)
        with pytest.raises(Refused, match="COL-0429" if (state, verb) == ("PAUSING", Verb.RESUME) else "COL-0431"):
            do(control, verb, run.run_id)
        assert dump(database) == before
        return
    if (state, verb) == ("PAUSED", Verb.RETRY):  # nothing but to resume it ends a pause
        with pytest.raises(Refused, match="COL-0430"):
            do(control, verb, run.run_id)
        return
    answered = do(control, verb, run.run_id)
    if verb is Verb.RETRY:
        assert answered == ["s1", "s2"]
    else:
        assert answered.state in AFTER[verb]
        assert do(control, verb, run.run_id).state == answered.state


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", SHARD_STATES)
def test_a_shard(control, catalog, database, dump, run, reads, stands, state, verb):
    stands("shard", run.run_id, state)
    assert control.look(run.run_id, "s1").state == state
    if state not in SHARD_VERBS[verb]:
        before = dump(database)
        codes = "COL-0429|COL-0424" if verb in (Verb.RESUME, Verb.RETRY) else "COL-0431"
        with pytest.raises(Refused, match=f"{codes}|COL-0431"):
            do(control, verb, run.run_id, "s1")
        assert dump(database) == before
        return
    if (state, verb) == ("COMPLETED", Verb.RETRY):  # only when the run has ended
        with pytest.raises(Refused, match="COL-0424"):
            do(control, verb, run.run_id, "s1")
        catalog.end(run, RunState.COMPLETED)
    answered = do(control, verb, run.run_id, "s1")
    if verb is Verb.RETRY:
        assert catalog.shard(run.run_id, "s1")["state"] == "RETRYING"
    else:
        assert answered.state in AFTER[verb]


def test_who_reads_hears_of_it_and_lets_go(database, control, catalog, run, reads):
    shards = Shards(database)
    assert control.pause(run.run_id, "s1", "slow").state == "PAUSING"
    assert shards.renew(reads) is Desired.PAUSE
    with pytest.raises(Refused, match="COL-0429"):
        control.resume(run.run_id, "s1")
    shards.release(reads, ShardState.PAUSED)
    paused = control.look(run.run_id, "s1")
    assert (paused.state, paused.reason, paused.led) == ("PAUSED", "slow", True)
    with pytest.raises(Refused, match="COL-0405"):
        shards.claim(run.run_id, "s1", ELSEWHERE)
    assert [each["shard_id"] for each in catalog.due(run.run_id, "cases", 9)] == ["s2"]
    assert control.resume(run.run_id, "s1").state == "RESUMING"
    assert [each["shard_id"] for each in catalog.due(run.run_id, "cases", 9)] == ["s1", "s2"]
    assert shards.claim(run.run_id, "s1", ELSEWHERE).page == reads.page


def test_a_shard_follows_its_run_and_keeps_its_own_wish(database, control, run, reads):
    shards = Shards(database)
    control.pause(run.run_id, "s2")
    control.pause(run.run_id)
    assert shards.renew(reads) is Desired.PAUSE
    control.pause(run.run_id, hard=True)
    assert shards.renew(reads) is Desired.STOP
    shards.release(reads, ShardState.PAUSED)
    Catalog(database).rest(run)
    control.resume(run.run_id)
    assert control.look(run.run_id, "s1").state == "RESUMING"
    assert control.look(run.run_id, "s2").state == "PAUSED"


def test_to_resume_what_goes_on_changes_nothing(database, control, dump, run, reads):
    before = dump(database)
    for shard_id in (None, "s1", "s2"):
        control.resume(run.run_id, shard_id)
    assert dump(database) == before


def test_where_nobody_works_a_verb_takes_effect_at_once(database, catalog, control, run, reads, alter):
    for table in ("run", "shard"):
        alter(database, f"UPDATE {table} SET lease_until = 0")
    assert control.pause(run.run_id).state == "PAUSED"
    assert [row["state"] for row in catalog.shards(run.run_id)] == ["PAUSED", "PENDING"]
    with pytest.raises(Fenced):
        catalog.renew(run)
    with pytest.raises(Fenced):
        Shards(database).renew(reads)
    with pytest.raises(Refused, match="COL-0430"):
        catalog.lead(run.run_id, ME)
    assert control.cancel(run.run_id, reason="not needed").state == "CANCELLED"
    row = catalog.run(run.run_id)
    assert (row["state"], row["reason"], bool(row["ended_at"])) == ("CANCELLED", "not needed", True)
    assert {each["state"] for each in catalog.shards(run.run_id)} == {"CANCELLED"}


@pytest.mark.parametrize("what", ["run", "shard"])
def test_who_does_not_let_go_in_time_is_shut_out(database, control, run, reads, alter, what):
    shard_id = "s1" if what == "shard" else None
    control.pause(run.run_id, shard_id)
    control.settle(run.run_id)
    assert control.look(run.run_id, shard_id).state == "PAUSING"
    late = (verbs.LONGEST_WAIT_OF_RUN if what == "run" else verbs.LONGEST_WAIT_OF_SHARD) + 1
    alter(database, f"UPDATE {what} SET desired_at = desired_at - ?", late * 1_000_000)
    control.settle(run.run_id)
    assert control.look(run.run_id, shard_id).state == "PAUSED"
    with pytest.raises(Fenced):
        Shards(database).renew(reads)


def test_a_run_that_is_paused_gives_way_to_nobody_and_is_carried_out_by_nobody(database, catalog, control, definition):
    requests = Requests(database)
    run_id = requests.accept(definition(), "r1").run_id
    assert control.pause(run_id, reason="not tonight").state == "PAUSED"
    assert (requests.waiting(), requests.take(ME)) == (0, None)
    with pytest.raises(Refused, match=r"COL-0430: .*not tonight"):
        catalog.begin(definition(), ME)
    assert control.resume(run_id).state == "RESUMING"
    assert requests.take(ME) == run_id


def test_a_run_of_which_all_that_is_left_is_paused_waits_for_whoever_resumes_it(database, catalog, control, run, alter):
    requests = Requests(database)
    for id in ("s1", "s2"):
        control.pause(run.run_id, id)
    catalog.end(run, RunState.PAUSED)
    alter(database, "UPDATE run SET awaited = ?", True)
    assert requests.waiting() == 0
    control.resume(run.run_id, "s2", awaited=True)
    assert requests.take(ME) == run.run_id


def test_to_leave_a_run_that_was_paused_does_not_resume_it(catalog, control, run):
    control.pause(run.run_id, reason="slow")
    catalog.desire(run.run_id, Desired.LEAVE, "interrupted")
    row = catalog.run(run.run_id)
    assert (row["desired"], row["reason"]) == (Desired.STOP, "slow")
    catalog.desire(run.run_id, Desired.LEAVE, "interrupted")
    assert catalog.desired(run.run_id) is Desired.STOP


def test_a_failed_shard_is_read_on_while_its_run_goes_on(database, catalog, control, run, reads):
    Shards(database).release(reads, ShardState.FAILED, "it broke")
    assert control.retry(run.run_id) == ["s1"]
    shard = catalog.shard(run.run_id, "s1")
    assert (shard["state"], shard["failures"], catalog.run(run.run_id)["state"]) == ("RETRYING", 0, "RUNNING")
    with pytest.raises(Refused, match=r"(?s)COL-0425: .*When it has ended"):
        control.retry(run.run_id)
    with pytest.raises(Refused, match="COL-0424"):
        control.retry(run.run_id, "all")


def test_what_it_is_retried_for_is_shown_until_it_is_done(database, catalog, control, run, reads):
    shards = Shards(database)
    shards.release(reads, ShardState.FAILED, "it broke")
    control.retry(run.run_id, reason="it is mended")
    again = shards.claim(run.run_id, "s1", ELSEWHERE)
    assert control.look(run.run_id, "s1").reason == "it is mended"
    shards.release(again, ShardState.COMPLETED)
    assert control.look(run.run_id, "s1").reason is None
    catalog.end(run, RunState.FAILED, "it broke")
    control.retry(run.run_id, reason="try it")
    assert control.look(run.run_id).reason == "try it"
    catalog.lead(run.run_id, ME)
    assert catalog.run(run.run_id)["reason"] == "try it"
    assert control.pause(run.run_id).reason is None


def test_a_retry_that_comes_while_a_run_is_concluded_is_not_lost(database, catalog, control, run, reads):
    shards = Shards(database)
    shards.release(reads, ShardState.FAILED, "it broke")
    control.cancel(run.run_id, "s2")
    control.retry(run.run_id)
    assert not catalog.end(run, RunState.PARTIALLY_COMPLETED)
    shards.release(shards.claim(run.run_id, "s1", ELSEWHERE), ShardState.COMPLETED)
    assert catalog.end(run, RunState.PARTIALLY_COMPLETED)


def test_a_shard_that_nobody_could_begin_has_failed_unless_somebody_reads_it(database, catalog, control, run, reads):
    for id in ("s1", "s2"):
        control.fail(run.run_id, id, "it cannot be begun")
    s1, s2 = catalog.shards(run.run_id)
    assert (s1["state"], s2["state"], s2["error"]) == ("RUNNING", "FAILED", "it cannot be begun")
    assert Shards(database).renew(reads) is Desired.RUN
    assert control.retry(run.run_id, "specific", ("s2",)) == ["s2"]


@pytest.mark.parametrize("state", ShardState)
def test_a_shard_that_could_not_be_begun_fails_by_a_move_there_is(database, catalog, control, run, alter, state):
    alter(database, "UPDATE shard SET state = ? WHERE shard_id = 's2'", state)
    control.fail(run.run_id, "s2", "it cannot be begun")
    after = catalog.shard(run.run_id, "s2")["state"]
    assert after == state if state in ENDED_SHARDS else ShardState.FAILED in SHARD_MOVES[state] and after == "FAILED"


def test_no_shard_of_a_run_that_has_ended_is_read(database, catalog, run, reads):
    catalog.end(run, RunState.FAILED)
    with pytest.raises(Refused, match="COL-0405"):
        Shards(database).claim(run.run_id, "s2", ELSEWHERE)


def test_a_run_whose_process_died_is_led_while_its_shards_are_read(catalog, control, run, reads, alter, database):
    alter(database, "UPDATE run SET lease_until = 0")
    assert not control.look(run.run_id).led
    assert catalog.lead(run.run_id, ME).fence > run.fence
    assert Shards(database).renew(reads) is Desired.RUN


def test_a_pause_after_an_interruption_is_kept(catalog, control, run, alter, database, definition):
    catalog.desire(run.run_id, Desired.LEAVE, "interrupted")
    catalog.end(run, RunState.PAUSED)
    control.pause(run.run_id, reason="not now")
    with pytest.raises(Refused, match="not now"):
        catalog.begin(definition(), ME)


def test_a_retry_resumes_nothing_that_is_paused(database, catalog, control, run, reads):
    Shards(database).release(reads, ShardState.FAILED, "it broke")
    control.pause(run.run_id, "s2")
    catalog.end(run, RunState.PAUSED)
    assert control.retry(run.run_id) == ["s1"]
    assert control.look(run.run_id, "s2").state == "PAUSED"


def test_a_wish_ends_with_its_run(catalog, control, run, reads):
    control.pause(run.run_id)
    catalog.end(run, RunState.FAILED, "it broke")
    catalog.lead(run.run_id, ME)
    assert catalog.desired(run.run_id) is Desired.RUN


def test_what_rests_is_left_unless_some_of_it_was_resumed_meanwhile(catalog, control, run):
    for id in ("s1", "s2"):
        control.pause(run.run_id, id)
    catalog.end(run, RunState.PAUSED)
    control.resume(run.run_id, "s1")
    catalog.leave_what_rests(run.run_id, "all that is left of it is paused")
    assert catalog.desired(run.run_id) is Desired.RUN
    control.pause(run.run_id, "s1")
    catalog.leave_what_rests(run.run_id, "all that is left of it is paused")
    assert catalog.desired(run.run_id) is Desired.LEAVE
    control.resume(run.run_id, "s1")
    assert catalog.desired(run.run_id) is Desired.RUN


@pytest.mark.parametrize(("verb", "state"), [("pause", "PAUSED"), ("cancel", "CANCELLED")])
def test_a_run_that_has_not_begun_follows_as_soon_as_its_process_lets_go(catalog, control, definition, verb, state):
    run_id = catalog.begin(definition(), ELSEWHERE).run_id
    assert getattr(control, verb)(run_id).state in ("PAUSING", "CANCELLING")
    with pytest.raises(Refused, match="COL-0430"):
        catalog.lead(run_id, ELSEWHERE)
    assert control.let_go(run_id, ELSEWHERE).state == state


def test_an_interruption_before_a_run_begins_is_not_overlooked(catalog, control, definition):
    run_id = catalog.begin(definition(), ELSEWHERE).run_id
    catalog.desire(run_id, Desired.LEAVE, "interrupted")
    with pytest.raises(Refused, match="COL-0430"):
        catalog.lead(run_id, ELSEWHERE)
    assert control.let_go(run_id, ELSEWHERE).state == "PAUSED"


def test_what_is_not_there_is_named(control, run):
    with pytest.raises(Misconfigured, match="COL-0205"):
        control.pause("nothing")
    for verb in (control.pause, control.resume, control.cancel):
        with pytest.raises(Misconfigured, match="COL-0277"):
            verb(run.run_id, "s9")


def test_the_time_in_which_nobody_worked_does_not_count(database, catalog, control, run, reads, alter):
    shards = Shards(database)
    shards.release(reads, ShardState.PAUSED)
    catalog.end(run, RunState.PAUSED)
    alter(database, "UPDATE shard SET ended_at = ended_at - 60000000 WHERE shard_id = 's1'")
    alter(database, "UPDATE run SET rested_at = rested_at - 60000000")
    catalog.lead(run.run_id, ELSEWHERE)
    shards.claim(run.run_id, "s1", ELSEWHERE)
    for row in (catalog.run(run.run_id), catalog.shard(run.run_id, "s1")):
        assert 60_000_000 <= row["idle"] < 90_000_000
