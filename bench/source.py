"""The source: nginx with one worker, which only serves files. It answers like TestRail at three addresses.

python -m bench.source CASES    serves until it is interrupted
"""

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.pages import PAGE, pages

PACE = 10_000  # cases a second at the slow address
PATIENCE = 10.0
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors; user {user};
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/json;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  map $args $kind {{ ~/get_sections/ sections; default cases; }}
  map $args $page {{ ~&limit=(?<limit>\\d+)&offset=(?<offset>\\d+)$ $limit/$offset; default none; }}
  map $args $paced {{ ~&limit=1& ""; default all; }}
  limit_req_zone $paced zone=pace:32k rate={requests}r/s;
  root {folder}/shown;
  server {{
    listen 127.0.0.1:{plain};
    etag off; if_modified_since off; add_header Last-Modified "";
    location = /index.php {{ try_files /$kind/$page.json /$kind/none.json =404; }}
  }}
  server {{
    listen 127.0.0.1:{conditional};
    location = /index.php {{ try_files /$kind/$page.json /$kind/none.json =404; }}
  }}
  server {{
    listen 127.0.0.1:{slow};
    etag off; if_modified_since off; add_header Last-Modified "";
    limit_req zone=pace burst=1000;
    location = /index.php {{ try_files /$kind/$page.json /$kind/none.json =404; }}
  }}
}}
"""


@dataclass(frozen=True)
class Source:
    """`plain` knows no conditional requests; `conditional` gives ETag and 304; `slow` gives out pages at a pace."""

    pid: int
    plain: str
    conditional: str
    slow: str
    _pages: Path
    _shown: Path

    def show(self, variant: str) -> None:
        """What is served from now on: `all`, `changed` or `few`."""
        link = self._shown.with_suffix(".new")
        link.symlink_to(self._pages / variant)
        link.rename(self._shown)


@contextmanager
def serving(cases: int) -> Iterator[Source]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not nginx:
        raise SystemExit("nginx is not installed; on Debian: apt-get install nginx")
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), dict(zip(("plain", "conditional", "slow"), _free_ports(3), strict=True))
        user = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
        text = CONFIGURATION.format(folder=folder, user=user, requests=PACE // PAGE, **ports)
        (folder / "nginx.conf").write_text(text)
        with subprocess.Popen([nginx, "-p", folder, "-e", folder / "errors", "-c", folder / "nginx.conf"]) as process:
            try:
                addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
                source = Source(process.pid, **addresses, _pages=pages(cases), _shown=folder / "shown")
                source.show("all")
                _wait(ports["plain"])
                yield source
            finally:
                process.terminate()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in probes]


def _wait(port: int) -> None:
    """Returns when somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.02)
    raise SystemExit(f"nginx does not listen on port {port} after {PATIENCE:g} s")


def main(cases: str) -> None:
    with serving(int(cases)) as source:
        print(source.plain, source.conditional, source.slow, flush=True)
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
