"""One private server as a detached process: started, remembered, found again, ended."""

import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.process import identity, is_here, locked, pid_of
from collectors.errors import Misconfigured, Unreachable, Unusable
from collectors.language import spoken
from deployments.dev_servers.server import Server, write_secret
from deployments.ports import HOST, free_port, is_free

SECONDS_TO_START = 90.0
SECONDS_TO_END = 15.0
SECONDS_TO_VANISH = 5.0
LOOK_EVERY = 0.05
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
        except ValueError as error:
            raise Unusable(
                "{file} does not tell where {server} is",
                "When its data is not needed any more: rm -r {folder}",
                code="COL-0712",
                file=self._file,
                server=self.kind.title,
                folder=self.folder,
            ) from error

    @property
    def server(self) -> Server:
        known = self.known
        return self.kind(Path(known.get("elsewhere", self.folder)), known["port"], known["secret"])

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        process = self.known.get("process")
        return pid_of(process) if process and is_here(process) else None

    def up(self) -> str:
        """Its address; started when it does not run, with the data it had. Raises CollectError."""
        require([self.kind])
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder):
            if not self.pid:
                self._prepare()
                self._start()
            self._wait()
        return self.server.url

    def down(self, how: signal.Signals = signal.SIGTERM) -> None:
        if not self.folder.exists():
            return
        self.signal(how)  # before it is our turn: who is starting it right now sees it end, and lets go
        with locked(self.folder):
            self.signal(how)
            if not _until(lambda: not self.pid, SECONDS_TO_END):
                self.signal(signal.SIGKILL)
                _until(lambda: not self.pid, SECONDS_TO_END)
            self._bury()

    def signal(self, which: signal.Signals) -> None:
        """To the whole group: PostgreSQL is many processes."""
        if pid := self.pid:
            os.killpg(pid, which)

    # ---- starting --------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.folder / "server.json"

    def _prepare(self) -> None:
        known = self.known or {"secret": secrets.token_hex(16)}
        if "port" not in known or not is_free(known["port"]):
            known["port"] = free_port()
        if self._must_move(known):
            known["elsewhere"] = tempfile.mkdtemp(prefix=f"platform-collect-{self.kind.role}-", dir="/var/tmp")
        self._note(known)
        server = self.server
        if not server.data.exists():
            try:
                server.prepare()
            except (OSError, LookupError, subprocess.CalledProcessError) as error:
                raise self._failed(error) from error

    def _must_move(self, known: dict[str, Any]) -> bool:
        """Whether a system user has to get in, who may not pass through our folders."""
        is_there = "elsewhere" in known and Path(known["elsewhere"]).is_dir()
        return self.kind.system_user is not None and os.geteuid() == 0 and not is_there

    def _note(self, known: dict[str, Any]) -> None:
        write_secret(self._file, json.dumps(known))

    def _start(self) -> None:
        self._bury()
        _until(self._is_wholly_gone, SECONDS_TO_VANISH)
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
                **server.runs_as,
            )
        # Noted before it answers, so that whoever comes next finds this one, whatever becomes of us.
        self._note(self.known | {"process": identity(self.child.pid)})

    def _wait(self) -> None:
        server, give_up = self.server, time.monotonic() + SECONDS_TO_START
        while True:
            try:
                socket.create_connection((HOST, server.port), timeout=1).close()  # clients take longer to say no
                return server.greet()
            except Exception as error:
                if not self.pid:
                    raise self._failed(spoken("it ended")) from error
                if time.monotonic() > give_up:
                    raise self._failed(error) from error
            time.sleep(LOOK_EVERY)

    # ---- ending ----------------------------------------------------------------------------------------

    def _bury(self) -> None:
        """A child that has ended is there until its parent has looked."""
        if self.child and not self.pid:
            self.child.wait()
            self.child = None

    def _is_wholly_gone(self) -> bool:
        """Nothing is left of its last life: parts of PostgreSQL that outlive it keep the next one from its data."""
        process = self.known.get("process")
        try:
            return not process or bool(os.killpg(pid_of(process), 0))
        except (ProcessLookupError, PermissionError):
            return True

    def _failed(self, why: Any) -> Unreachable:
        log = self.server.log
        said = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] if log.exists() else []
        return Unreachable(
            "{server} did not start ({why})",
            "Its log is {log}; it ends with: {said}",
            code="COL-0711",
            server=self.kind.title,
            why=why,
            log=log,
            said=" / ".join(said) or "-",
        )


def require(kinds: Iterable[type[Server]]) -> None:
    """Raises Misconfigured where programs are not installed, with all that is missing."""
    missing = [kind for kind in kinds if kind.program() is None]
    if missing:
        raise Misconfigured(
            "not installed: {servers}",
            "On Debian: {commands}. Elsewhere: docs/dev-servers.md",
            code="COL-0710",
            servers=", ".join(kind.title for kind in missing),
            commands=" && ".join(kind.install for kind in missing),
        )


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(LOOK_EVERY)
    return True
