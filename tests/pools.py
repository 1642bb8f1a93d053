"""A Prefect server of its own, with the deployments of the project and workers that may be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
POOL = "local"


class Pool:
    """A Prefect server with the deployments of the project, and workers that may be killed."""

    def __init__(self, collect, folder):
        self.collect, self.environment, self.folder = collect, collect.environment, folder
        self.api = self.environment["PREFECT_API_URL"]
        self._workers = []

    def prefect(self, *arguments):
        command = [BIN / "prefect", "--no-prompt", *arguments]
        pipes = {"capture_output": True, "text": True, "timeout": 120}
        done = subprocess.run(command, env=self.environment, cwd=self.folder, **pipes)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def worker(self):
        command = [BIN / "prefect", "worker", "start", "--pool", POOL, "--limit", "6"]
        with (self.folder / "worker.log").open("a") as log:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
            self._workers.append(subprocess.Popen(command, env=self.environment, cwd=self.folder, **quiet))

    def said(self, text):
        """How often a worker did."""
        return (self.folder / "worker.log").read_text(encoding="utf-8").count(text)

    def kill_workers(self):
        """And whatever they carry out."""
        for worker in self._workers:
            kill(worker)
        self._workers.clear()

    def call(self, path, body=None):
        """As a browser does it; a server on SQLite that is busy says 503."""
        with httpx.Client(base_url=self.api, timeout=30, trust_env=False) as client:
            ask = partial(client.get, path) if body is None else partial(client.post, path, json=body)
            for _ in range(20):
                if (answer := ask()).status_code != 503:
                    break
            return answer.raise_for_status().json()

    def named(self, name):
        found = self.call("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return found[0] if found else None

    def press(self, button, flow_run_id):
        """What the page sends."""
        if button == "Resume":
            return self.call(f"/flow_runs/{flow_run_id}/resume", {})["status"]
        in_five_minutes = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()
        details = {"pause_reschedule": True, "pause_timeout": in_five_minutes}
        states = {
            "Pause": {"type": "PAUSED", "name": "Suspended", "state_details": details},
            "Cancel": {"type": "CANCELLING", "name": "Cancelling"},
            "Retry": {"type": "SCHEDULED", "name": "AwaitingRetry"},
        }
        body = {"state": states[button], "force": True}
        return self.call(f"/flow_runs/{flow_run_id}/set_state", body)["status"]


def below(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = {int(each) for each in children.read_text().split()} if children.exists() else set()
    return found.union(*(below(each) for each in found)) if found else found


def kill(process):
    """With all it carries out; it is stopped before, since it may start something meanwhile."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGSTOP)
        for pid in below(process.pid) | {process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.communicate()


@contextmanager
def running_pool(folder: Path, new_collect: Any) -> Iterator[Pool]:
    home = folder / ".collect"
    collect = new_collect(home)
    address = collect("up", "--port", "0").stdout.split()[-1].strip()
    collect.environment |= {"PREFECT_API_URL": f"{address}/api", "PREFECT_HOME": str(home / "prefect")}
    (folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    found = Pool(collect, folder)
    try:
        found.prefect("work-pool", "create", POOL, "--type", "process")
        found.prefect("deploy", "--all")
        found.worker()
        yield found
    finally:
        found.kill_workers()
        collect("down", "--force")
