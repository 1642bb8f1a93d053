"""What is done over: which shards, from where, and what they counted before."""

import pytest

from blocks.sql.catalog import Catalog
from blocks.sql.control import Control
from blocks.sql.quarantine import Quarantine
from blocks.sql.requests import Requests
from blocks.sql.rows import Rows
from blocks.sql.shards import Shards
from blocks.sql.sweeps import Sweeps
from blocks.sql.watermarks import Watermarks
from collectors.errors import Misconfigured, Refused
from collectors.models import IMPORT, Batch, Quarantined, Record, ShardPlan, ShardRetry, origin_of, page_label
from collectors.states import Desired, RunState, ShardState
from collectors.sweeping import Sweep

ME = "here:1:1"
REFUSED = Quarantined(0, "wrong", "it is", "r1", b"{}")


@pytest.fixture
def cases(definition):
    return definition()


@pytest.fixture
def run(database, cases):
    """A run of three shards, ended in this state: the first is complete, the second failed, the third still open."""
    catalog, shards = Catalog(database), Shards(database)

    def ended(state=RunState.PARTIALLY_COMPLETED, second=ShardState.FAILED):
        claim = catalog.begin(cases, ME)
        claim = catalog.lead(claim.run_id, ME)
        plans = [ShardPlan(shard_id=id, stage="cases", label=id, span={}, estimate=10) for id in "123"]
        catalog.save_plan(claim, plans, 0.0)
        for id, at_end in (("1", ShardState.COMPLETED), ("2", second)):
            held = shards.claim(claim.run_id, id, ME)
            record = Record(kind="case", id=id, name=id)
            batch = Batch("default", cases.name, claim.run_id, id, "0.0", shards.observe(), (record,))
            Rows(database).apply(batch)
            Rows(database).finish(batch)
            shards.checkpoint(held, 0, {"after": 1}, [batch], [REFUSED], 2)
            shards.release(held, at_end, None if at_end is ShardState.COMPLETED else "it broke")
        catalog.end(claim, state, "it broke")
        return claim.run_id

    return ended


def standing(database, run_id):
    rows = Catalog(database).shards(run_id)
    return {row["shard_id"]: (row["state"], row["page"], row["fetched"], row["failures"]) for row in rows}


RETRYING, PENDING, COMPLETED = ShardState.RETRYING, ShardState.PENDING, ShardState.COMPLETED
CASES = {
    "failed": ("failed", (), ["2", "3"], {"1": (COMPLETED, 1, 2, None), "2": (RETRYING, 1, 2, 0)}, 2),
    "all": ("all", (), ["1", "2", "3"], {"1": (COMPLETED, 1, 2, None), "2": ("FAILED", 1, 2, 1)}, 2),
    "one that was complete": ("specific", ("1",), ["1"], {"1": (RETRYING, 0, 0, 0), "2": ("FAILED", 1, 2, 1)}, 1),
    "one that failed": ("specific", ("2",), ["2"], {"1": (COMPLETED, 1, 2, None), "2": (RETRYING, 1, 2, 0)}, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_done_over_begins_where_it_has_to(database, run, case):
    scope, shards, expected, left, counted = CASES[case]
    run_id = run()
    assert Control(database).retry(run_id, scope, shards) == expected
    found = standing(database, run_id)
    assert found.items() >= left.items()
    catalog = Catalog(database)
    row = catalog.run(run_id)
    assert (row["state"], row["desired"], row["ended_at"], row["error"]) == (RunState.PAUSED, Desired.RUN, None, None)
    assert catalog.applied(run_id)["new"] == counted
    assert len(Quarantine(database).records(run_id)) == counted


def test_a_retry_is_carried_out_by_whoever_asked_for_it(database, run):
    run_id = run()
    Control(database).retry(run_id, awaited=True)
    assert Requests(database).waiting() == 1
    claim = Catalog(database).lead(run_id, ME)
    for id in ("2", "3"):
        Shards(database).release(Shards(database).claim(run_id, id, ME), ShardState.FAILED, "again")
    Catalog(database).end(claim, RunState.FAILED, "again")
    Control(database).retry(run_id)
    assert Requests(database).waiting() == 0


def test_no_run_is_done_over_beside_one_that_has_not_ended(database, run, cases):
    run_id = run()
    catalog = Catalog(database)
    claim = catalog.begin(cases, ME)
    catalog.end(catalog.lead(claim.run_id, ME), RunState.PAUSED)
    with pytest.raises(Refused) as refused:
        Control(database).retry(run_id)
    assert refused.value.code == "COL-0428"


def test_all_done_over_belongs_to_the_epoch_that_was_begun_meanwhile(database, run, cases):
    run_id = run()
    Watermarks(database).bump(cases.tenant, cases.name)
    Control(database).retry(run_id, "all")
    plan_anew(database, run_id)
    assert Catalog(database).run(run_id)["epoch"] == 1


def test_nothing_is_concluded_while_what_was_published_before_may_still_come(database, run, cases):
    run_id = run()
    shards, catalog = Shards(database), Catalog(database)
    Control(database).retry(run_id)
    led = catalog.lead(run_id, ME)
    held = shards.claim(run_id, "2", ME)
    late = Batch("default", cases.name, run_id, "2", "1.0", shards.observe(), (Record(kind="case", id="9", name="9"),))
    shards.checkpoint(held, 1, None, [late], [], 1)
    shards.release(held, ShardState.FAILED, "it broke")
    catalog.end(led, RunState.FAILED)
    Control(database).retry(run_id, "all")
    plan_anew(database, run_id)
    row = catalog.run(run_id)
    sweep = Sweep(cases.tenant, cases.name, run_id, row["sweep"], row["epoch"])
    with pytest.raises(Refused) as refused:
        Sweeps(database).refuse_open(sweep)
    assert refused.value.code == "COL-0416"
    Rows(database).apply(late)
    Rows(database).finish(late)
    Sweeps(database).refuse_open(sweep)


def test_a_retry_is_led_as_any_run_that_goes_on(database, run):
    run_id = run()
    Control(database).retry(run_id)
    Catalog(database).lead(run_id, ME)
    claim = Shards(database).claim(run_id, "2", ME)
    assert (claim.cursor, claim.page, claim.failures) == ({"after": 1}, 1, 0)


def test_how_often_is_said_for_this_run_alone(database, run, cases):
    run_id = run()
    Control(database).retry(run_id, policy=ShardRetry(attempts=7, backoff="fixed"))
    assert '"attempts":7' in Catalog(database).run(run_id)["definition"]
    assert cases.strategy.shard_retry.attempts == 1


def test_reading_all_anew_is_a_sweep_of_its_own(database, run):
    run_id = run()
    before = Catalog(database).run(run_id)["sweep"]
    Control(database).retry(run_id)
    assert Catalog(database).run(run_id)["sweep"] == before
    Control(database).retry(run_id, "all")
    plan_anew(database, run_id)
    assert Catalog(database).run(run_id)["sweep"] > before


def plan_anew(database, run_id):
    plans = [ShardPlan(shard_id="1", stage="cases", label="1", span={}, estimate=10)]
    Catalog(database).save_plan(claim := Catalog(database).lead(run_id, ME), plans, 0.0)
    return claim


def test_all_is_planned_anew_and_its_account_stays_until_then(database, run):
    run_id = run()
    catalog, before = Catalog(database), standing(database, run_id)
    Control(database).retry(run_id, "all")
    catalog.end(catalog.lead(run_id, ME), RunState.FAILED, "its source was not there to be planned for")
    assert (standing(database, run_id), catalog.applied(run_id)["new"]) == (before, 2)
    assert len(catalog.refusals(run_id)) == 1
    Control(database).retry(run_id)
    plan_anew(database, run_id)
    assert standing(database, run_id) == {"1": (PENDING, 0, 0, None)}
    assert (catalog.applied(run_id)["new"], catalog.refusals(run_id)) == (0, [])
    assert Shards(database).claim(run_id, "1", ME).round == 1


def test_a_run_that_failed_before_it_was_planned_is_of_the_time_it_is_planned_at(database, cases):
    catalog = Catalog(database)
    unplanned = catalog.lead(catalog.begin(cases, ME).run_id, ME)
    catalog.end(unplanned, RunState.FAILED, "its source was not there")
    Watermarks(database).bump(cases.tenant, cases.name)
    seen = Shards(database).observe()
    Control(database).retry(unplanned.run_id)
    plan_anew(database, unplanned.run_id)
    row = catalog.run(unplanned.run_id)
    assert (row["epoch"], row["sweep"] > seen) == (1, True)


def test_a_run_that_failed_when_all_was_read_is_only_to_be_concluded(database, run, alter):
    run_id = run(RunState.FAILED, ShardState.COMPLETED)
    alter(database, "UPDATE shard SET state = 'COMPLETED'")
    assert Control(database).retry(run_id) == []
    assert Catalog(database).run(run_id)["state"] == RunState.PAUSED


def test_what_is_read_anew_counts_as_what_it_is_now(database, run, cases):
    run_id = run()
    Control(database).retry(run_id, "specific", ["1"])
    Catalog(database).lead(run_id, ME)
    claim, shards = Shards(database).claim(run_id, "1", ME), Shards(database)
    label, record = page_label(claim.round, 0, 0), Record(kind="case", id="1", name="1")
    batch = Batch("default", cases.name, run_id, "1", label, shards.observe(), (record,))
    Rows(database).apply(batch)
    shards.checkpoint(claim, 0, None, [batch], [], 1)
    applied = Catalog(database).applied(run_id)
    assert (applied["new"], applied["unchanged"]) == (1, 1)
    assert origin_of(batch.batch_id)[2] == 0


def test_what_was_sent_is_not_imported_again(database, cases):
    catalog = Catalog(database)
    sent = cases.model_copy(update={"collector": IMPORT, "mode": "range"})
    claim = catalog.lead(catalog.begin(sent, ME).run_id, ME)
    catalog.save_plan(claim, [ShardPlan(shard_id="1", stage="cases", label="1", span={}, estimate=10)], 0.0)
    held = Shards(database).claim(claim.run_id, "1", ME)
    Shards(database).release(held, ShardState.COMPLETED)
    catalog.end(claim, RunState.COMPLETED)
    for scope, shards in (("all", ()), ("specific", ("1",))):
        with pytest.raises(Refused, match="COL-0427"):
            Control(database).retry(claim.run_id, scope, shards)


def test_a_run_whose_process_died_is_to_be_resumed(database, cases, alter):
    claim = Catalog(database).lead(Catalog(database).begin(cases, ME).run_id, ME)
    alter(database, "UPDATE run SET lease_until = 0 WHERE run_id = ?", claim.run_id)
    with pytest.raises(Refused, match="COL-0425"):
        Control(database).retry(claim.run_id)


def test_what_was_asked_for_twice_is_done_over_once(database, run):
    run_id = run()
    first = Control(database).retry(run_id)
    assert Control(database).retry(run_id) == first
    assert standing(database, run_id)["2"] == (RETRYING, 1, 2, 0)


def test_what_cannot_be_done_over_is_refused(database, run, cases):
    control, catalog = Control(database), Catalog(database)
    run_id = run()
    with pytest.raises(Misconfigured, match="COL-0277"):
        control.retry(run_id, "specific", ["2", "nothing"])
    assert standing(database, run_id)["2"] == ("FAILED", 1, 2, 1)
    claim = catalog.begin(cases, ME)
    with pytest.raises(Refused, match="COL-0402"):
        control.retry(run_id)
    catalog.end(claim, RunState.FAILED)
    with pytest.raises(Refused, match="COL-0431"):
        control.retry(_cancelled(catalog, cases))


def _cancelled(catalog, cases):
    claim = catalog.begin(cases, ME)
    claim = catalog.lead(claim.run_id, ME)
    catalog.end(claim, RunState.PAUSED)
    last = catalog.begin(cases, ME)
    catalog.end(last, RunState.FAILED)
    return claim.run_id


def test_where_nothing_failed_nothing_is_done_over(database, run, alter):
    run_id = run(RunState.COMPLETED, ShardState.COMPLETED)
    alter(database, "UPDATE shard SET state = 'COMPLETED'")
    with pytest.raises(Refused, match="COL-0425"):
        Control(database).retry(run_id)
    assert Catalog(database).run(run_id)["state"] == RunState.COMPLETED
