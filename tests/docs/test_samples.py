"""What the documents and the help tell people to type works as it stands, and what they point to is there."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from collectors.config import SETTINGS
from collectors.models import Collection
from collectors.registry import checked_source, names
from collectors.testing.sample import Settings, application
from collectors.testing.serving import served
from collectors.validating import validated
from deployments.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
OWN_TEST = ROOT / "docs" / "writing-a-collector.md"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "collect dev-servers": "starts servers: typed as the README has it by tests/acceptance/test_full_stack.py",
    "collect storage set": "the other samples are for the embedded stores; typed there, too",
    "collect retry": "needs shards that failed: tests/acceptance/test_failures.py",
    "collect pause": "needs a run that is under way: tests/acceptance/test_control.py",
    "collect cancel": "needs a run that may be given up: tests/acceptance/test_control.py",
    "collect resume RUN/": "needs a shard that is paused: tests/acceptance/test_control.py",
    'collect resume "$': "of the walk that tests/acceptance/test_operate.py types",
    'collect shards "$': "of the walk that tests/acceptance/test_operate.py types",
    'collect status "$': "of the walk that tests/acceptance/test_operate.py types",
    "collect run slow.yaml": "of the walk that tests/acceptance/test_operate.py types",
    "collect register": "needs a source of its own: tests/acceptance/test_registry.py types the whole page",
    "collect unregister": "of the page that tests/acceptance/test_registry.py types",
    "collect apply": "needs a folder of files: tests/deployments/test_registering.py",
    "collect versions": "of the page that tests/acceptance/test_registry.py types",
    "collect rollback": "of the page that tests/acceptance/test_registry.py types",
    "collect schedule": "of the page that tests/acceptance/test_registry.py types",
    "collect status --collection tests": "of the page that tests/acceptance/test_registry.py types",
    "collect load": "loads until it is ended: tests/deployments/test_loading.py",
    "collect serve": "serves until it is ended: tests/acceptance/test_service.py types the whole page",
    "collect export imports": "typed by tests/acceptance/test_service.py",
    "collect run testcases.yaml": "typed by tests/acceptance/test_service.py",
    "collect keys rotate": "needs a key that may go: tests/deployments/test_auditing.py",
    "collect audit verify --anchor": "needs what verify has printed: tests/deployments/test_auditing.py",
    "collect keys revoke": "needs a key that may go: tests/deployments/api/test_keys.py",
    "collect sample": "serves until it is ended; the curl lines are tried on the same application",
    "collect up": "starts a Prefect server of its own, twenty seconds; every other test needs it to work",
    "collect down": "ends the Prefect server that the tests share",
    "collect run kiwi.yaml": "needs a Kiwi server: make kiwi",
    "collect tree kiwi": "needs a Kiwi server: make kiwi",
}
ADDRESS = "http://127.0.0.1:8765"


def blocks(path: Path, *languages: str) -> list[str]:
    found = BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [match["text"] for match in found if match["language"] in languages]


def typed(path: Path) -> list[str]:
    """What is to be typed at a prompt, without its explanations."""
    lines = [line for block in blocks(path, "", "sh") for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip() for line in lines]


def in_help() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "deployments" / "cli").glob("*.py"))]
    found = [match for text in texts for match in re.findall(r"^\s*\$ (collect .*)$", text, re.MULTILINE)]
    return [re.sub(r"\s+#.*", "", line).strip() for line in found]


def samples() -> list[str]:
    """The commands in the order of the pages, each once with as many words and the same options."""
    lines = [line for path in PAGES if path != OWN_TEST for line in typed(path)]
    found: dict[tuple[str, ...], str] = {}
    for line in [*lines, *in_help()]:
        if line.startswith("collect "):
            words = line.split()
            kind = "not run" if line.startswith(tuple(NOT_RUN)) else words[1]
            found.setdefault((kind, str(len(words)), *re.findall(r"--\w+", line)), line)
    return list(found.values())


def is_tried(line: str) -> bool:
    return not line.startswith(tuple(NOT_RUN))


TRIED = [line for line in samples() if is_tried(line)]
pytestmark = pytest.mark.timeout(600)  # the commands are all run before the first is judged
CHANGING = (
    "collect run ",
    "collect watermark ",
    "collect epoch ",
    "collect resume ",
    "collect config ",
    "collect doctor --fix",
)


# ---- commands --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A home in which `demo` was collected whole, and `tests` with a record that was refused."""

    collect: Any
    folder: Path
    places: dict[str, str]

    def filled(self, line: str) -> list[str]:
        """The arguments, each placeholder replaced; what a shell would do with the output is left out."""
        line = re.sub(r"\b[0-9a-f]{8}\b", self.places["RUN"], re.split(r"\s[|>]", line)[0])
        words = shlex.split(line)[1:]
        places = self.places | ({"RUN": self.places["demo's"]} if "demo" in words else {})
        return [re.sub("^RUN(?=/)", places["RUN"], places.get(word, word)) for word in words]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """In a folder of its own: with the collection files, unless the command is there to write one."""
        arguments = self.filled(line)
        folder = Path(mkdtemp(dir=self.folder))
        for file in self.folder.glob("*.yaml") if arguments[0] != "init" else ():
            shutil.copy(file, folder)
        command = [sys.executable, "-m", "deployments.cli", *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(command, cwd=folder, env=self.collect.environment, text=True, timeout=90, **pipes)


@contextmanager
def sampled(folder: Path, name: str, settings: Settings) -> Iterator[None]:
    with served(application(settings)) as url:
        source = {"base_url": url, "project_id": 1, "suite_id": 1, "username": "reader"}
        definition = {"name": name, "collector": "testrail", "source": source | {"api_key": "env:TESTRAIL_API_KEY"}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(definition))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory, new_collect, prefect_server):
    """How each command ended: those that change something one after another, the others two at a time."""
    folder = tmp_path_factory.mktemp("samples")
    collect = new_collect(folder / "home", HOME=str(folder), TESTRAIL_API_KEY="the-key", **prefect_server)
    demo, tests = Settings(cases=60, directories=8), Settings(cases=20, directories=5, damaged=1)
    with sampled(folder, "demo", demo), sampled(folder, "tests", tests), ThreadPoolExecutor(2) as pool:
        demos = collect.json("run", "demo.yaml")["run_id"]
        ended = {"collect run tests.yaml": collect("run", "tests.yaml", exit_code=3)}
        run_id = collect.json("status", "--collection", "tests")[0]["run_id"]
        last = max(int(id) for kind, id in collect.export("demo") if kind == "case")
        path = collect.json("tree", "demo")[0]["path"]
        places = {
            "RUN": run_id,
            "demo's": demos,
            "ID": str(last),
            "PATH": path,
            "FILE": "tests.yaml",
            "NAME": "tests",
            "QUERY": "支付",
        }
        prepared = Prepared(collect, folder, places)
        left = [line for line in TRIED if line not in ended]
        ended |= {line: prepared.run(line) for line in left if line.startswith(CHANGING)}
        left = [line for line in left if line not in ended]
        yield ended | dict(zip(left, pool.map(prepared.run, left), strict=True))


@pytest.mark.parametrize("line", TRIED)
def test_what_is_to_be_typed_works(done, line):
    ended = done[line]
    assert ended.returncode in (0, 3), f"{line}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stdout + ended.stderr


def test_requests_of_the_pages_are_answered():
    lines = [line for path in PAGES for line in typed(path) if line.startswith("curl ") and ADDRESS in line]
    assert lines
    with served(application(Settings(cases=300, directories=20))) as url:
        for line in lines:
            _, *arguments = shlex.split(line)
            (address,) = (each for each in arguments if each.startswith(ADDRESS))
            options = dict(zip(arguments[::2], arguments[1::2], strict=False))
            header = [options["-H"].split(": ", 1)] if "-H" in options else []
            body = options["-d"].encode() if "-d" in options else None
            try:
                with urlopen(Request(address.replace(ADDRESS, url), body, dict(header)), timeout=30) as answer:
                    assert json.load(answer)
            except HTTPError as error:
                pytest.fail(f"{line}: {error.read().decode()}")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_commands_that_are_named_exist(path):
    named = set(re.findall(r"`collect ([a-z][a-z-]*)", path.read_text(encoding="utf-8")))
    assert not named - set(COMMANDS)


@pytest.mark.parametrize("readme", sorted(ROOT.glob("README*.md")), ids=lambda path: path.name)
def test_a_readme_names_every_command(readme):
    named = set(re.findall(r"`collect ([a-z][a-z-]*)", readme.read_text(encoding="utf-8")))
    assert not set(COMMANDS) - named


# ---- blocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_yaml_and_json_can_be_read_and_collections_are_valid(path):
    for text in blocks(path, "json"):
        assert json.loads(text) is not None
    for text in blocks(path, "yaml", "yml"):
        found = yaml.safe_load(text)
        if isinstance(found, dict) and "collector" in found:
            collection = validated(Collection, found, "")
            if collection.source and collection.collector in names():
                checked_source(collection, lambda name: "a-value")


def test_a_page_holds_a_collection():
    assert any("collector: testrail" in text for text in blocks(ROOT / "README.md", "yaml"))


# ---- links -----------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as they are made when it is shown."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{target.name} has no heading for {link}"


def test_the_table_of_settings_is_that_of_the_code():
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|", (ROOT / "docs" / "config.md").read_text("utf-8"), re.M
    )
    assert rows == [(each.name, each.takes, ", ".join(each.scopes), each.description) for each in SETTINGS.values()]


def test_what_the_architecture_names_exists():
    rows = re.findall(r"^\| (.*?) \| (.+?) \|", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE)
    room, missing = "", []
    for first, files in rows:
        room = first.strip("` ") or room
        for name in re.findall(r"`([\w./]+)`", files):
            if room.endswith("/") and not (ROOT / room / name).exists():
                missing.append(room + name)
    assert len(rows) > 20
    assert not missing
