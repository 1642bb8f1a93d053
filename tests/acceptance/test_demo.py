"""What a newcomer sees first."""

import re
import subprocess
import sys


def test_the_demo_collects_the_sample_source_and_says_what_to_try_next(collect):
    command = [sys.executable, "-m", "deployments.demo"]
    done = subprocess.run(command, env=collect.environment, cwd=collect.home.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sample source: 20,000 cases in 800 directories" in done.stdout
    assert "20,800 fetched   20,800 new" in done.stdout
    assert re.search(r"/runs/flow-run/[0-9a-f-]{36}", done.stderr)
    following = re.search(r"  next +(.*)", done.stdout)[1]
    for command in re.split(r" {2,}", following):
        assert collect(*command.split()[1:]).stdout
