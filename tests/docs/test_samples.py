"""What the documents and the help tell people to type works as it stands, and what they point to is there."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from collectors.models import Collection
from collectors.registry import checked_source, names, validated
from collectors.testing.sample import Settings, application
from collectors.testing.serving import served
from deployments.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
OWN_TEST = ROOT / "docs" / "writing-a-collector.md"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ANNOUNCED = {"init", "try", "plan", "show", "search", "errors", "doctor", "completion"}
NOT_RUN = {
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
    """Each distinct command once, in the order of the pages."""
    lines = [line for path in PAGES if path != OWN_TEST for line in typed(path)]
    return list(dict.fromkeys(line for line in [*lines, *in_help()] if line.startswith("collect ")))


def is_run(line: str) -> bool:
    waiting = line.split()[1] in ANNOUNCED - set(COMMANDS)
    return not waiting and not any(line.startswith(prefix) for prefix in NOT_RUN)


# ---- commands --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, new_collect, prefect_server):
    """A home in which `demo` and `tests` were collected, and a record of `demo` was refused."""
    folder = tmp_path_factory.mktemp("samples")
    environment = {"HOME": str(folder), "TESTRAIL_API_KEY": "the-key", **prefect_server}
    collect = new_collect(folder / "home", **environment)
    with served(application(Settings(cases=60, directories=8, damaged=1))) as url:
        for name in ("demo", "tests"):
            source = {"base_url": url, "project_id": 1, "suite_id": 1, "username": "reader"}
            definition = {"name": name, "collector": "testrail", "source": source | {"api_key": "env:TESTRAIL_API_KEY"}}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(definition))
        first = ["run", "demo.yaml"], ["run", "tests.yaml"]
        ran = {f"collect {' '.join(arguments)}": collect(*arguments, exit_code=3) for arguments in first}
        run_id = collect.json("status")[0]["run_id"]
        case = next(id for kind, id in collect.export("demo") if kind == "case")
        yield SimpleNamespace(collect=collect, folder=folder, ran=ran, places={"RUN": run_id, "ID": case})


def filled(line: str, places: dict[str, str]) -> list[str]:
    """The arguments, with what stands for something replaced; what a shell would do with the output is left out."""
    words = {**places, "FILE": "tests.yaml", "NAME": "tests", "QUERY": "支付"}
    line = re.sub(r"\b[0-9a-f]{8}\b", places["RUN"], re.split(r"\s[|>]", line)[0])
    return [words.get(word, word) for word in shlex.split(line)[1:]]


@pytest.mark.parametrize("line", [line for line in samples() if is_run(line)])
def test_what_is_to_be_typed_works(prepared, line, tmp_path):
    arguments = filled(line, prepared.places)
    # What writes a file finds none in its way.
    for file in prepared.folder.glob("*.yaml") if arguments[0] != "init" else ():
        shutil.copy(file, tmp_path)
    done = prepared.ran.get(line) or subprocess.run(
        [sys.executable, "-m", "deployments.cli", *arguments],
        cwd=tmp_path, env=prepared.collect.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode in (0, 3), f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr


def test_requests_of_the_pages_are_answered():
    lines = [line for path in PAGES for line in typed(path) if line.startswith("curl ")]
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
    named = set(re.findall(r"`collect ([a-z]+)", path.read_text(encoding="utf-8")))
    assert not named - set(COMMANDS) - ANNOUNCED


@pytest.mark.parametrize("readme", sorted(ROOT.glob("README*.md")), ids=lambda path: path.name)
def test_a_readme_names_every_command(readme):
    named = set(re.findall(r"`collect ([a-z]+)", readme.read_text(encoding="utf-8")))
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
