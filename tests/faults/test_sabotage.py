"""Planted faults turn the suite red; all of them are planted by sabotage.py itself, here those that need no server."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SABOTAGE = Path(__file__).with_name("sabotage.py")


@pytest.mark.parametrize("name", ["signatures are not compared", "a pause without a cap"])
def test_a_planted_fault_is_noticed(name):
    done = subprocess.run([sys.executable, SABOTAGE, name], capture_output=True, text=True)
    assert done.stdout.endswith("sabotages caught 1 of 1\n"), done.stdout + done.stderr


@pytest.mark.parametrize("planted", runpy.run_path(str(SABOTAGE))["SABOTAGES"], ids=lambda each: each.name)
def test_the_text_that_is_replaced_is_there(planted):
    text = (SABOTAGE.parents[2] / planted.file).read_text(encoding="utf-8")
    assert text.count(planted.text) == 1
