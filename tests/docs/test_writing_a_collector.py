"""The collector of docs/writing-a-collector.md, as it stands there: installed, run, and held to its contract."""

import os
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-collector.md"
FILE = re.compile(r"^`(?P<name>[\w.-]+)`[^\n]*:\n\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8799"
TOKEN = {"TRACKER_TOKEN": "the-token"}


def files(text: str) -> dict[str, str]:
    """The files of the page; what a file goes on with is in a later block."""
    found = defaultdict(list)
    for match in FILE.finditer(text):
        found[match["name"]].append(match["text"])
    return {name: "\n".join(parts) for name, parts in found.items()}


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def package(tmp_path_factory, page, port):
    """The folder an author has after typing what the page says."""
    folder = tmp_path_factory.mktemp("tracker")
    for name, text in files(page).items():
        (folder / name).write_text(text.replace(PORT, port), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of a new environment that offers what this one has, and takes what is installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    (own / "platform.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


@pytest.fixture(scope="module")
def installed(package, environment, page):
    """The Python the package is installed for, as the page says."""
    _, *arguments = shlex.split(typed("pip install", page)[0])
    done = subprocess.run([environment, *arguments, "-qq"], cwd=package, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(environment)


@pytest.fixture(scope="module")
def stand_in(package):
    command = [sys.executable, "stand_in.py"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=package, text=True, **pipes) as server:
        try:
            assert any("running on" in line for line in server.stderr), "the stand-in did not start"
            yield
        finally:
            server.terminate()


def typed(command: str, page: str) -> list[str]:
    """The lines of the block that types `command`."""
    block = next(each["text"] for each in BLOCK.finditer(page) if command in each["text"])
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def test_every_block_of_code_belongs_to_a_file_that_is_tried(page):
    named = [match["text"] for match in FILE.finditer(page)]
    code = [match for match in BLOCK.finditer(page) if match["language"] in ("python", "toml", "yaml")]
    assert [match["text"] for match in code] == named
    assert set(files(page)) == {
        "pyproject.toml",
        "collect_tracker.py",
        "stand_in.py",
        "tracker.yaml",
        "test_tracker.py",
    }
    lines = files(page)["collect_tracker.py"].splitlines()
    assert len(lines) < 120


def test_what_the_page_types_collects_the_source(page, package, installed, stand_in, new_collect, prefect_server):
    collect = new_collect(package / "home", **prefect_server, **TOKEN)
    collect.python = installed
    said = {}
    export, *lines = typed("collect run tracker.yaml", page)
    assert export == f"export TRACKER_TOKEN={TOKEN['TRACKER_TOKEN']}"
    for line in lines:
        _, *arguments = shlex.split(line)
        said[arguments[0]] = collect(*arguments).stdout
    assert re.search(r"^tracker\tMilestones and issues of Tracker", said["collectors"], re.MULTILINE)
    assert "6 fetched   6 new   0 changed   0 unchanged   0 quarantined" in said["run"]
    assert f"```\n{said['tree']}```" in page
    held = {key: line["path"] for key, line in collect.export("shop").items()}
    assert held == {
        ("directory", "1"): "/支付",
        ("directory", "2"): "/支付/Refunds",
        ("case", "11"): "/支付/付款成功",
        ("case", "12"): "/支付/Card declined",
        ("case", "13"): "/支付/Paid twice",
        ("case", "21"): "/支付/Refunds/退款",
    }


def test_the_collector_keeps_its_contract(package, page):
    make, test = typed("-m pytest", page)
    assert f"\n{make.split()[-1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    _, *arguments = shlex.split(test)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, *arguments, "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10
