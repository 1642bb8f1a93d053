"""The page about registering, typed as it stands: from a definition to a schedule that fires on a worker, and back."""

import re

import pytest

from tests.walks import typed_walk

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def typed(tmp_path, new_collect):
    with typed_walk("registry.md", tmp_path, new_collect) as said:
        yield said


def test_the_walk(typed, tmp_path):
    assert re.search(r"^tests\toften\tTrue\t\S+\t\S+ run\t[0-9a-f]{8}\tevery 20 s", typed, re.MULTILINE)
    assert re.search(r"^[0-9a-f]{8}\ttests\tCOMPLETED\tfull\t305/305", typed, re.MULTILINE)
    assert "schedule.often.interval  20.0 -> 86400.0" in typed
    assert "schedule.often.mode  incremental -> -" in typed
    assert re.search(r"^3\t.*\n2\t.*schedule.often.mode\n1\t", typed, re.MULTILINE) is None
    assert re.search(r"^2\t.*schedule.often.interval, schedule.often.mode\n1\t", typed, re.MULTILINE)
    assert re.search(r"^tests\toften\tFalse\t", typed, re.MULTILINE)
    actions = re.findall(r"\t(register|rollback|schedule\S*|start)\t", typed)
    assert {"register"} <= set(actions)
