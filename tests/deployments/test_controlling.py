"""What is asked of a run that another process leads, as it is typed."""

import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection, ShardPlan
from collectors.states import ShardState

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
