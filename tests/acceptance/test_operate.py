"""The page about operating runs, typed as it stands: from a pause by REST to a worker that is killed."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from blocks.acting import PERSON
from tests.pools import below

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(400)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def typed(tmp_path, new_collect):
    """What was said when the blocks of the walk were typed one after another."""
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    api, prefect, source = (str(free_port()) for _ in range(3))
    text = "\n".join(BLOCK.findall(PAGE.partition("## A walk")[2]))
    text = text.replace("8780", api).replace("127.0.0.1:4200", f"127.0.0.1:{prefect}").replace("8765", source)
    script = f"set -eu\ncollect up --port {prefect}\n{text}\necho ALL DONE; read -r _\n"
    home = tmp_path / ".collect"
    environment = new_collect(home).environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "said").open("w") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environment, text=True, **pipes) as shell:
            try:
                said = "".join(takewhile("ALL DONE\n".__ne__, shell.stdout))
                assert shell.poll() is None, said[-3000:] + (tmp_path / "said").read_text()[-3000:]
                yield said, json.loads((tmp_path / "ended.json").read_text())
            finally:
                for pid in below(shell.pid):
                    os.kill(pid, signal.SIGKILL)
                new_collect(home)("down")


def test_the_walk(typed):
    said, ended = typed
    told = json.loads(re.search(r'{"run_id":"[0-9a-f]{8}","shard_id":"s03".*?}', said)[0])
    assert (told["state"], told["reason"]) == ("PAUSED", "the source is slow")
    assert re.search(r"^s02\tRUNNING\t.*\ns03\tPAUSED\t.*the source is slow", said, re.MULTILINE)
    assert (ended["state"], ended["records"]["fetched"], ended["shards"]) == ("COMPLETED", 1505, {"COMPLETED": 3})
    tries = {line.split("\t")[0]: int(line.split("\t")[6]) for line in re.findall(r"^s0\d\tCOMPLETED\t.*$", said, re.M)}
    assert tries["s03"] >= 2  # a pause is no try, a worker that died is
    acted = [tuple(line.split("\t")[each] for each in (2, 4)) for line in re.findall(r"^\d+\t\d{4}-.*$", said, re.M)]
    by_key = next(who for who, what in acted if what == "pause" and who.startswith("key:"))
    expected = {(by_key, "pause"), ("prefect", "pause"), ("prefect", "resume"), (PERSON, "start"), (PERSON, "resume")}
    assert expected <= {*acted}
