"""The page about operating runs, typed as it stands: from a pause by REST to a worker that is killed."""

import json
import re

import pytest

from blocks.acting import PERSON
from tests.walks import typed_walk

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def typed(tmp_path, new_collect):
    with typed_walk("operate.md", tmp_path, new_collect) as said:
        yield said, json.loads((tmp_path / "ended.json").read_text())


def test_the_walk(typed):
    said, ended = typed
    told = json.loads(re.search(r'{"run_id":"[0-9a-f]{8}","shard_id":"s03".*?}', said)[0])
    assert (told["state"], told["reason"]) == ("PAUSED", "the source is slow")
    assert re.search(r"^s02\t(?:RUNNING|COMPLETED)\t.*\ns03\tPAUSED\t.*the source is slow", said, re.MULTILINE)
    assert (ended["state"], ended["records"]["fetched"], ended["shards"]) == ("COMPLETED", 1505, {"COMPLETED": 3})
    tries = {line.split("\t")[0]: int(line.split("\t")[6]) for line in re.findall(r"^s0\d\tCOMPLETED\t.*$", said, re.M)}
    assert tries["s03"] >= 2  # a pause is no try, a worker that died is
    acted = [tuple(line.split("\t")[each] for each in (2, 4)) for line in re.findall(r"^\d+\t\d{4}-.*$", said, re.M)]
    by_key = next(who for who, what in acted if what == "pause" and who.startswith("key:"))
    expected = {(by_key, "pause"), ("prefect", "pause"), ("prefect", "resume"), (PERSON, "start"), (PERSON, "resume")}
    assert expected <= {*acted}
