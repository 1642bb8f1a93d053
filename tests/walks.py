"""Pages of the documents that are typed whole, in a shell, with ports of their own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    walk = (ROOT / "docs" / page).read_text(encoding="utf-8").partition("## A walk")[2]
    with typed(walk, folder, new_collect) as (said, _):
        yield said


@contextmanager
def typed(page: str, folder: Path, new_collect: Any) -> Iterator[tuple[str, set[int]]]:
    """What was said when the blocks of a text were typed one after another, and what ran when all was done."""
    shutil.copy(ROOT / "prefect.yaml", folder)
    api, prefect, source = (str(free_port()) for _ in range(3))
    text = "\n".join(BLOCK.findall(page))
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
                yield said, below(shell.pid)
            finally:
                # A worker of Prefect's that is told to end while its server goes away does not.
                for pid in below(shell.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                new_collect(home)("down")
