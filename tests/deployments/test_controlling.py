"""What is asked of a run that another process leads, as it is typed."""

from dataclasses import replace

import pytest

from blocks.process import this_process
from blocks.reports import report
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection, ShardPlan
from collectors.selecting import Selection
from collectors.states import RunState, ShardState
from deployments.cli.progress import _text
from deployments.cli.running import _led_here

ELSEWHERE = "elsewhere:1:1"


@pytest.fixture
def led(tmp_path, testrail):
    """A run of which one shard has failed and another one is to be read."""
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        claim = storage.catalog.begin(Collection.model_validate(testrail.definition()), ELSEWHERE)
        claim = storage.catalog.lead(claim.run_id, ELSEWHERE)
        plans = [ShardPlan(shard_id=id, stage="cases", label=id, span={}, estimate=1) for id in ("s01", "s02")]
        storage.catalog.save_plan(claim, plans, 1.0)
        held = storage.shards.claim(claim.run_id, "s01", ELSEWHERE)
        storage.shards.release(held, ShardState.FAILED, "it broke")
    return claim.run_id


def test_what_a_shard_is_retried_for_is_shown(typed, led):
    said = typed("retry", f"{led}/s01", "--reason", "it is mended", "--json").json
    assert said == [{"run_id": led, "shard_id": "s01", "state": "RETRYING", "reason": "it is mended"}]
    assert "it is mended" in typed("shards", led).stdout


@pytest.fixture
def storage(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as opened:
        yield opened


def test_whoever_goes_on_with_a_run_is_not_told_to_resume_it(storage):
    claim = storage.catalog.lead(storage.catalog.begin(other(), this_process()).run_id, this_process())
    storage.catalog.save_plan(claim, [ShardPlan(shard_id="s01", stage="cases", label="1", span={}, estimate=1)], 1.0)
    storage.catalog.end(claim, RunState.PAUSED)
    assert "collect resume" in _text(report(storage.catalog, claim.run_id))
    assert "collect resume" not in _text(_led_here(storage.catalog, claim.run_id))
    storage.control.pause(claim.run_id)
    assert "collect resume" in _text(_led_here(storage.catalog, claim.run_id))


def test_a_range_is_shown_without_a_total_or_the_time_that_is_left(storage):
    claim = storage.catalog.lead(storage.catalog.begin(other(), this_process()).run_id, this_process())
    plan = ShardPlan(shard_id="s01", stage="cases", label="1", span={}, estimate=3000)
    storage.catalog.save_plan(claim, [plan], 1.0, Selection(first=1, last=900))
    held = storage.shards.claim(claim.run_id, "s01", this_process())
    storage.shards.checkpoint(held, 0, 1, [], [], read=20)
    said = _text(replace(report(storage.catalog, claim.run_id), seconds=2.0))
    assert "20" in said and "10/s" in said and "3,0" not in said and "left" not in said


def test_a_collection_whose_first_run_is_being_planned_is_told_from_none(typed, storage):
    run_id = storage.catalog.begin(other(), this_process(), other()).run_id
    said = typed("run", "other", "--mode", "incremental", exit_code=4).stderr
    assert "COL-0461" in said and run_id in said
    assert "COL-0221" in typed("run", "another", exit_code=2).stderr


def other():
    return Collection(name="other", collector="testrail", source={})
