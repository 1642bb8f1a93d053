"""The page about the service, typed as it stands: a whole platform by one command, and a worker of a work pool."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def below(pid: int) -> set[int]:
    """All processes that came of one; those with a session of their own are children still."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = {int(each) for each in children.read_text().split()} if children.exists() else set()
    return found.union(*(below(each) for each in found)) if found else found


@pytest.fixture(scope="module")
def typed(tmp_path_factory, new_source, new_collect):
    """What was said when the blocks of the page were typed one after another, and what ran when all was done."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(ROOT / "prefect.yaml", folder)
    port, prefect = free_port(), free_port()
    text = "\n".join(BLOCK.findall((ROOT / "docs" / "service.md").read_text(encoding="utf-8")))
    text = text.replace("8780", str(port)).replace("127.0.0.1:4200", f"127.0.0.1:{prefect}")
    script = f"set -eu\ncollect up --port {prefect}\n{text}\necho ALL DONE; read -r _\n"
    home = folder / ".collect"
    environment = new_collect(home).environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with new_source(folder, "--cases", "60", "--directories", "8") as source:
        source.collection("testcases")
        with (folder / "said").open("w") as errors:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            with subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment, text=True, **pipes) as shell:
                try:
                    said = "".join(takewhile("ALL DONE\n".__ne__, shell.stdout))
                    assert shell.poll() is None, said[-3000:] + (folder / "said").read_text()[-3000:]
                    yield said, below(shell.pid)
                finally:
                    # A worker of Prefect's that is told to end while its server goes away does not.
                    for pid in below(shell.pid):
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    new_collect(home)("down")


def test_what_was_imported_is_shown_as_a_tree_alone_and_by_its_words(typed):
    said, _ = typed
    assert '"path":"/支付/退款原路退回"' in said
    assert '"content":{"steps":["申请退款"],"expectedResults":["原路退回"]}' in said
    assert '"snippet":"【申请退款】"' in said


def test_a_worker_carries_out_what_prefect_is_asked_for(typed):
    said, _ = typed
    runs = [line.split("\t") for line in said.splitlines() if re.match(r"[0-9a-f]{8}\ttestcases\t", line)]
    assert [run[2] for run in runs] == ["COMPLETED", "COMPLETED"]


def test_the_service_ends_what_it_started_when_it_is_told_to(typed):
    _, started = typed
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in started}
    (serve,) = (pid for pid, command in commands.items() if " serve " in command or command.endswith(" serve "))
    own = below(serve)
    assert len(own) >= 2
    ended = os.pidfd_open(serve)
    os.kill(serve, signal.SIGTERM)
    assert select.select([ended], [], [], 60)[0]
    os.close(ended)
    assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
