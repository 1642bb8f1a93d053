"""Every count that is shown comes from shards and confirmed batches, and adds up."""

import json
from collections import Counter

import pytest

from blocks.caches.none import NoCache
from blocks.documents.sqlite import SqliteDocuments
from blocks.process import this_process
from blocks.reports import again, as_json, report, shards_of
from blocks.sql.catalog import Catalog
from blocks.sql.control import Control
from blocks.sql.rows import Rows
from blocks.sql.shards import Shards
from collectors.errors import Misconfigured
from collectors.loading import Loader
from collectors.models import Quarantined, ShardPlan
from collectors.quarantine import too_many
from collectors.selecting import Selection
from collectors.states import RunState, ShardState


@pytest.fixture
def catalog(database):
    return Catalog(database)


@pytest.fixture
def shards(database):
    return Shards(database)


@pytest.fixture
def control(database):
    return Control(database)


@pytest.fixture
def loader(database, details):
    return Loader(Rows(database), SqliteDocuments(details), NoCache())


@pytest.fixture
def run(catalog, definition):
    """A running run of ten directories and twenty cases."""
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process(), "flow")
    plans = [
        ShardPlan(shard_id=shard_id, stage=stage, label=stage, span={}, estimate=estimate)
        for shard_id, stage, estimate in (("s01", "directories", 10), ("s02", "cases", 20))
    ]
    catalog.save_plan(claim, plans, 1.0)
    return claim


def test_a_run_without_a_plan_is_planning(catalog, definition):
    done = report(catalog, catalog.begin(definition(), this_process()).run_id)
    assert (done.phase, done.total, done.percent, done.rate, done.seconds) == ("planning", 0, 0.0, 0.0, 0.0)
    assert set(done.records.values()) == {0}


def test_a_report_of_an_unknown_run_is_refused(catalog):
    with pytest.raises(Misconfigured, match="nope"):
        report(catalog, "nope")


def test_counts_come_from_confirmed_batches_only(catalog, shards, loader, run, new_batch, new_case):
    claim = shards.claim(run.run_id, "s02", this_process())
    batch = new_batch(new_case("1"), new_case("2"), run_id=run.run_id, shard_id="s02", observation=1)
    loader.apply(batch)
    assert set(report(catalog, run.run_id).records.values()) == {0}
    shards.checkpoint(claim, 0, 2, [batch], [Quarantined(2, "missing-id", "has no id", None, b"{}")], read=3)
    done = report(catalog, run.run_id)
    assert done.records == {
        "fetched": 3, "new": 2, "changed": 0, "unchanged": 0, "regressed": 0, "quarantined": 1, "deleted": 0,
    }  # fmt: skip
    assert done.reasons == {"missing-id": 1}


def test_what_was_fetched_is_the_sum_of_what_became_of_it(catalog, shards, loader, run, new_batch, new_case):
    claim = shards.claim(run.run_id, "s02", this_process())
    pages = [
        [new_case("1"), new_case("2"), new_case("2"), new_case("3"), new_case("4")],
        [new_case("1"), new_case("2", name="renamed"), new_case("3", deleted=True)],
    ]
    for page, records in enumerate(pages):
        batch = new_batch(*records, run_id=run.run_id, shard_id="s02", page=f"{page}.0", observation=page + 1)
        loader.apply(batch)
        shards.checkpoint(claim, page, page, [batch], [], read=len(records))
    records = report(catalog, run.run_id).records
    assert records == {
        "fetched": 8, "new": 4, "changed": 1, "unchanged": 2, "regressed": 0, "quarantined": 0, "deleted": 1,
    }  # fmt: skip
    assert records["fetched"] == sum(count for name, count in records.items() if name != "fetched")


def test_what_is_older_than_known_is_not_unchanged(catalog, shards, loader, run, new_batch, new_case):
    claim = shards.claim(run.run_id, "s02", this_process())
    for page, version in enumerate((9, 5)):
        records = [new_case("1", name=f"of {version}", source_version=version)]
        batch = new_batch(*records, run_id=run.run_id, shard_id="s02", page=f"{page}.0", observation=page + 1)
        loader.apply(batch)
        shards.checkpoint(claim, page, page, [batch], [], read=1)
    done = report(catalog, run.run_id)
    assert (done.records["new"], done.records["regressed"], done.records["unchanged"], done.loaded) == (1, 1, 0, 2)


def test_a_page_that_was_applied_twice_counts_once(catalog, shards, loader, run, new_batch, new_case):
    claim = shards.claim(run.run_id, "s02", this_process())
    values = {"run_id": run.run_id, "shard_id": "s02"}
    loader.apply(new_batch(new_case("1"), observation=1, **values))
    again = new_batch(new_case("1"), observation=2, **values)
    loader.apply(again)
    shards.checkpoint(claim, 0, None, [again], [], read=1)
    records = report(catalog, run.run_id).records
    assert (records["fetched"], records["new"], records["unchanged"]) == (1, 1, 0)


def test_the_phase_is_the_first_stage_that_is_not_read(catalog, shards, run):
    phases = []
    for shard_id in ("s01", "s02"):
        phases.append(report(catalog, run.run_id).phase)
        shards.release(shards.claim(run.run_id, shard_id, this_process()), ShardState.COMPLETED)
    phases.append(report(catalog, run.run_id).phase)
    catalog.end(run, RunState.COMPLETED)
    assert [*phases, report(catalog, run.run_id).phase] == ["directories", "cases", "closing", "ended"]


def test_the_total_follows_what_is_found(catalog, shards, run):
    assert report(catalog, run.run_id).total == 30
    first = shards.claim(run.run_id, "s01", this_process())
    shards.checkpoint(first, 0, 4, [], [], read=4)
    assert (report(catalog, run.run_id).total, report(catalog, run.run_id).percent) == (30, pytest.approx(13.33, 0.01))
    shards.checkpoint(first, 1, 15, [], [], read=11)
    assert report(catalog, run.run_id).total == 35
    shards.release(first, ShardState.COMPLETED)
    second = shards.claim(run.run_id, "s02", this_process())
    shards.checkpoint(second, 0, None, [], [], read=5)
    shards.release(second, ShardState.COMPLETED)
    assert (report(catalog, run.run_id).total, report(catalog, run.run_id).percent) == (20, 100.0)


def test_a_range_of_ids_has_no_total_before_it_is_read(catalog, shards, definition):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    all_cases = ShardPlan(shard_id="s01", stage="cases", label="cases", span={}, estimate=3000)
    catalog.save_plan(claim, [all_cases], 1.0, Selection(first=1, last=900))
    held = shards.claim(claim.run_id, "s01", this_process())
    shards.checkpoint(held, 0, 1, [], [], read=20)
    done = report(catalog, claim.run_id)
    assert (done.total, done.percent) == (None, 0.0)
    shards.release(held, ShardState.COMPLETED)
    assert report(catalog, claim.run_id).total == 20


def test_time_is_measured_from_the_first_request_to_the_last_batch(
    catalog, shards, loader, run, new_batch, new_case, database, alter
):
    claim = shards.claim(run.run_id, "s02", this_process())
    batch = new_batch(new_case("1"), run_id=run.run_id, shard_id="s02")
    loader.apply(batch)
    shards.checkpoint(claim, 0, None, [batch], [], read=1000)
    alter(database, "UPDATE batch SET done_at = 5000000")
    done = report(catalog, run.run_id)
    assert (done.seconds, done.rate) == (4.0, 250.0)


def test_a_shard_that_is_paused_takes_no_more_time(catalog, shards, run):
    claim = shards.claim(run.run_id, "s01", this_process())
    shards.release(claim, ShardState.PAUSED)
    first, second = (shards_of(catalog, run.run_id)[0]["seconds"] for _ in range(2))
    assert first == second


def test_as_json_is_plain(catalog, run):
    printed = as_json(report(catalog, run.run_id))
    assert json.loads(json.dumps(printed)) == printed
    assert printed["shards"] == {"PENDING": 2}
    assert (printed["run_id"], printed["state"], printed["mode"]) == (run.run_id, "RUNNING", "full")


def test_a_run_that_failed_before_its_first_batch_took_the_time_it_tried(catalog, definition, database):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.end(claim, RunState.FAILED, "the source was down")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE run SET ended_at = created_at + 23000000")
    done = report(catalog, claim.run_id)
    assert (done.seconds, done.rate) == (23.0, 0.0)


@pytest.fixture
def earlier(database, alter):
    """Moves what is written down of the run into the past."""

    def moved(*names):
        for name in names:
            alter(database, f"UPDATE run SET {name} = {name} - 90000000")

    return moved


def test_a_run_whose_planning_failed_took_no_time_while_nobody_tried(catalog, control, definition, earlier):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process())
    catalog.end(claim, RunState.FAILED, "the source was down")
    earlier("created_at", "rested_at", "ended_at")
    control.retry(claim.run_id)
    catalog.end(catalog.lead(claim.run_id, this_process()), RunState.FAILED, "it still was")
    assert report(catalog, claim.run_id).seconds < 60


def test_a_run_that_was_done_over_took_the_time_before_and_after(
    catalog, control, shards, loader, run, new_batch, new_case, alter, database, earlier
):
    def read(shard_id, observation, state):
        claim = shards.claim(run.run_id, shard_id, this_process())
        label = f"{claim.round * 10**9}.0"
        batch = new_batch(new_case("1"), run_id=run.run_id, shard_id=shard_id, page=label, observation=observation)
        loader.apply(batch)
        shards.checkpoint(claim, 0, None, [batch], [], read=1)
        shards.release(claim, state)

    read("s01", 1, ShardState.COMPLETED)
    read("s02", 2, ShardState.FAILED)
    catalog.end(run, RunState.PARTIALLY_COMPLETED)
    alter(database, "UPDATE run SET started_at = rested_at - 4000000")
    alter(database, "UPDATE batch SET done_at = done_at - 91000000")
    earlier("started_at", "rested_at", "ended_at")
    control.retry(run.run_id, "specific", ["s02"], awaited=True)
    assert report(catalog, run.run_id).seconds == 4.0
    again = catalog.lead(run.run_id, this_process())
    assert 4 <= report(catalog, run.run_id).seconds < 60
    catalog.end(again, RunState.FAILED, "it still was down")
    assert 4 <= report(catalog, run.run_id).seconds < 60


def test_what_was_interrupted_is_resumed_and_what_has_ended_is_done_over(catalog, shards, run, definition):
    catalog.end(run, RunState.PAUSED)
    assert again(report(catalog, run.run_id)) == f"collect resume {run.run_id}"
    claim = catalog.lead(run.run_id, this_process())
    shards.release(shards.claim(run.run_id, "s01", this_process()), ShardState.COMPLETED)
    shards.release(shards.claim(run.run_id, "s02", this_process()), ShardState.FAILED, "it broke")
    catalog.end(claim, RunState.PARTIALLY_COMPLETED, "it broke")
    assert again(report(catalog, run.run_id)) == f"collect retry {run.run_id}"
    claim = catalog.lead(run.run_id, this_process())
    catalog.end(claim, RunState.FAILED, str(too_many(run.run_id, 11, 10)))
    assert again(report(catalog, run.run_id)) == f"collect retry {run.run_id} --scope all"


def test_shards_that_are_shown_alike_are_added_up_and_each_is_counted(catalog, shards, control, definition):
    claim = catalog.lead(catalog.begin(definition(), this_process()).run_id, this_process(), "flow")
    plans = [
        ShardPlan(shard_id=f"s{number:03}", stage="cases", label="cases", span={}, estimate=10) for number in range(500)
    ]
    catalog.save_plan(claim, plans, 1.0)
    for shard_id in ("s001", "s002"):
        shards.checkpoint(shards.claim(claim.run_id, shard_id, this_process()), 0, 12, [], [], read=12)
    shards.release(shards.claim(claim.run_id, "s003", this_process()), ShardState.FAILED, "it broke\nin two")
    shards.release(shards.claim(claim.run_id, "s004", this_process()), ShardState.COMPLETED)
    control.pause(claim.run_id, "s002")
    control.pause(claim.run_id, "s005")
    assert len(catalog.standings(claim.run_id, catalog.now())) < 10
    done, each = report(catalog, claim.run_id), shards_of(catalog, claim.run_id)
    assert done.shards == Counter(shard["state"] for shard in each)
    assert done.shards == {"PENDING": 495, "RUNNING": 1, "PAUSING": 1, "FAILED": 1, "COMPLETED": 1, "PAUSED": 1}
    assert (done.total, done.records["fetched"], done.phase) == (497 * 10 + 2 * 12, 24, "cases")
    assert [(shard["shard_id"], shard["error"]) for shard in done.troubles] == [("s003", each[3]["error"])]
