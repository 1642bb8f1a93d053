"""The page about the service, typed as it stands: a whole platform by one command, and a worker of a work pool."""

import os
import re
import select
import signal
from pathlib import Path

import pytest

from tests.pools import below
from tests.walks import ROOT, typed

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def service(tmp_path_factory, new_source, new_collect):
    folder, page = tmp_path_factory.mktemp("service"), (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    with new_source(folder, "--cases", "60", "--directories", "8") as source:
        source.collection("testcases")
        with typed(page, folder, new_collect) as done:
            yield done


def test_what_was_imported_is_shown_as_a_tree_alone_and_by_its_words(service):
    said, _ = service
    assert '"path":"/支付/退款原路退回"' in said
    assert '"content":{"steps":["申请退款"],"expectedResults":["原路退回"]}' in said
    assert '"snippet":"【申请退款】"' in said


def test_a_worker_carries_out_what_prefect_is_asked_for(service):
    said, _ = service
    runs = [line.split("\t") for line in said.splitlines() if re.match(r"[0-9a-f]{8}\ttestcases\t", line)]
    assert [run[2] for run in runs] == ["COMPLETED", "COMPLETED"]


def test_the_service_ends_what_it_started_when_it_is_told_to(service):
    _, started = service
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in started}
    (serve,) = (pid for pid, command in commands.items() if " serve " in command or command.endswith(" serve "))
    own = below(serve)
    assert len(own) >= 2
    ended = os.pidfd_open(serve)
    os.kill(serve, signal.SIGTERM)
    assert select.select([ended], [], [], 60)[0]
    os.close(ended)
    assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
