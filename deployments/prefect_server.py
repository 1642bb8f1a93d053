"""The Prefect server of one machine: started once, shared by all commands, ended by `collect down`."""

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from blocks.prefect_health import asked, healthy
from blocks.process import identity, is_here, locked, pid_of
from blocks.settings import Settings
from collectors.errors import Misconfigured, Unreachable
from deployments.ports import free_port

USUAL_PORT = 4200
HIGHEST_PORT = 65_535
SECONDS_TO_START = 90.0
SECONDS_TO_STOP = 15.0
TRIES = 3
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def running(settings: Settings) -> str | None:
    """The API address of this folder's server, if it runs."""
    noted = _of_one_that_runs(settings)
    return noted and noted["api"]


def process(settings: Settings) -> str | None:
    """Which process this folder's server is, if it runs."""
    noted = _of_one_that_runs(settings)
    return noted and noted["process"]


def left_over(settings: Settings) -> bool:
    """Whether the note of a server that does not run any more is left."""
    return _note(settings).exists() and running(settings) is None


def being_started(settings: Settings) -> bool:
    """Whether another command starts or ends the server right now."""
    try:
        with _alone(settings, fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def forget(settings: Settings) -> None:
    """Take away the note of a server that does not run any more."""
    with _alone(settings):
        if left_over(settings):
            _note(settings).unlink()


def up(settings: Settings, port: int | None = None) -> str:
    """Start the server unless it runs; answers its API address once it is ready. Raises Unreachable, Misconfigured."""
    if port is not None and not 0 <= port <= HIGHEST_PORT:
        raise Misconfigured(
            "there is no port {port}", "Name one from 1 to {highest}.", code="COL-0702", port=port, highest=HIGHEST_PORT
        )
    settings.make_home()
    with _alone(settings):
        for _ in range(TRIES):
            api = running(settings) or _start(settings, port)
            if _comes_up(settings, api):
                return api
            _end(settings)
            if not taken(api):
                break
    raise Unreachable("the Prefect server did not start", "See {log}", code="COL-0703", log=_log(settings))


def _comes_up(settings: Settings, api: str) -> bool:
    """Whether this folder's server answers in time. Another one may have taken the port while it was starting."""
    ended = _until(lambda: _is_ours(settings, api) or not running(settings), SECONDS_TO_START)
    return ended and running(settings) is not None


def _is_ours(settings: Settings, api: str) -> bool:
    try:
        told = json.loads(asked(f"{api}/admin/settings"))
    except (OSError, ValueError, HTTPException):
        return False
    return isinstance(told, dict) and told.get("home") == str(settings.prefect_home)


def down(settings: Settings) -> bool:
    """End the server. False when none ran."""
    settings.make_home()
    with _alone(settings):
        return _end(settings)


def _end(settings: Settings) -> bool:
    noted = _noted(settings)
    if noted is None or not is_here(noted["process"]):
        return False
    pid = pid_of(noted["process"])
    os.kill(pid, signal.SIGTERM)
    if not _until(lambda: not is_here(noted["process"]), SECONDS_TO_STOP):
        os.kill(pid, signal.SIGKILL)
    _note(settings).unlink(missing_ok=True)
    return True


def use(settings: Settings) -> str:
    """Make Prefect in this process talk to the configured server, or to this folder's, which is started when needed.

    Has to come before Prefect is imported. Raises Unreachable.
    """
    os.environ.update(QUIET | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"})
    logging.raiseExceptions = False  # else Prefect says on stderr of each log line that it could not be sent
    if settings.prefect_api_url:
        if not healthy(settings.prefect_api_url):
            raise Unreachable(
                "the Prefect server at PREFECT_API_URL={api} does not answer",
                "Start it, or unset PREFECT_API_URL to use a server of your own machine.",
                code="COL-0704",
                api=settings.prefect_api_url,
            )
        return settings.prefect_api_url
    api = up(settings)
    os.environ.update({"PREFECT_API_URL": api, "PREFECT_HOME": str(settings.prefect_home)})
    return api


def ui(api: str) -> str:
    return api.removesuffix("/api")


def _start(settings: Settings, port: int | None) -> str:
    port = free_port(USUAL_PORT if port is None else port)
    api = f"http://127.0.0.1:{port}/api"
    with _log(settings).open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=_environment(settings, api),
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Noted before it answers, so that whoever comes next waits for this one, whatever becomes of us.
    _note(settings).write_text(json.dumps({"api": api, "process": identity(server.pid)}))
    return api


def _log(settings: Settings) -> Path:
    return settings.home / "prefect-server.log"


def _environment(settings: Settings, api: str) -> dict[str, str]:
    own = {
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_UI_API_URL": api,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(settings),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return inherited | QUIET | own


def _database(settings: Settings) -> str:
    """Where Prefect looks by itself, and over one connection, which it uses for every URL that says `:memory:`.

    Over several it refuses (503) who writes while another one does, and its clients sleep for 2, 4, 8 and more seconds
    before they ask again. SQLite passes over what it does not know in the query of a URI.
    """
    return f"sqlite+aiosqlite:///{(settings.prefect_home / 'prefect.db').absolute().as_uri()}?uri=true&as=:memory:"


def taken(api: str) -> bool:
    """Whether anybody listens where this API address leads."""
    address = urlsplit(api)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


def _until(condition, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.1)
    return True


def _note(settings: Settings) -> Path:
    return settings.home / "prefect-server.json"


def _of_one_that_runs(settings: Settings) -> dict[str, str] | None:
    noted = _noted(settings)
    return noted if noted and is_here(noted["process"]) else None


def _noted(settings: Settings) -> dict[str, str] | None:
    try:
        noted = json.loads(_note(settings).read_text())
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(noted, dict) and all(isinstance(noted.get(key), str) for key in ("api", "process"))
    return noted if whole else None


def _alone(settings: Settings, flags: int = 0) -> AbstractContextManager[None]:
    """Two commands that find no server start one, not two."""
    lock = settings.home / "prefect-server.lock"
    lock.touch()
    return locked(lock, flags)
