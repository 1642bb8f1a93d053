"""Pages of the documents that are typed whole, in a shell, with ports of their own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.pools import below

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def typed_walk(page: str, folder: Path, new_collect: Any) -> Iterator[str]:
    """What was said when the blocks of the page's walk were typed one after another; all it started runs meanwhile."""
    shutil.copy(ROOT / "prefect.yaml", folder)
    api, prefect, source = (str(free_port()) for _ in range(3))
    walk = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("## A walk")[2]
    text = "\n".join(BLOCK.findall(walk))
    text = text.replace("8780", api).replace("127.0.0.1:4200", f"127.0.0.1:{prefect}").replace("8765", source)
    script = f"set -eu\ncollect up --port {prefect}\n{text}\necho ALL DONE; read -r _\n"
    home = folder / ".collect"
    environment = new_collect(home).environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (folder / "said").open("w") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment, text=True, **pipes) as shell:
            try:
                said = "".join(takewhile("ALL DONE\n".__ne__, shell.stdout))
                assert shell.poll() is None, said[-3000:] + (folder / "said").read_text()[-3000:]
                yield said
            finally:
                for pid in below(shell.pid):
                    os.kill(pid, signal.SIGKILL)
                new_collect(home)("down")
