"""`collect load` where there is nothing to load."""

import subprocess
import sys

import pytest


def test_on_the_embedded_stores_it_says_that_nothing_is_left_to_load(new_collect, tmp_path):
    done = new_collect(tmp_path / "home")("load", exit_code=2)
    assert "COL-0684" in done.stderr


@pytest.mark.parametrize("replicas", ["0", "65", "many"])
def test_a_number_of_loaders_that_makes_no_sense_is_refused(new_collect, tmp_path, replicas):
    assert "COL-0201" in new_collect(tmp_path / "home")("load", "--replicas", replicas, exit_code=2).stderr


def test_a_loader_by_itself_says_the_same(new_collect, tmp_path):
    collect = new_collect(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-m", "blocks.loader"], env=collect.environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("COL-0684")
