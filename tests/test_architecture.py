"""The house keeps its shape: arrows, names, start-up costs, and pictures that agree with the code."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from collectors.states import RUN_MOVES, RUN_VERBS, SHARD_MOVES, SHARD_VERBS, Verb

ROOT = Path(__file__).parent.parent
ROOMS = ("collectors", "blocks", "tasks", "flows", "deployments")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
EMPTY_WORDS = ("Manager", "Service", "Factory", "Helper", "Util", "Utils", "Handler", "Processor")
# Each stands where anything may be raised by somebody else's code, and turns it into a reason that is shown.
BROAD_EXCEPTS = {
    ("blocks/sql/ticks.py", "begin_due"),
    ("deployments/dev_servers/starting.py", "_wait"),
    ("flows/collect.py", "_led"),
    ("flows/handing_over.py", "hand_over"),
    ("deployments/carrying.py", "_carried_out"),
    ("flows/reading.py", "read_stage"),
    ("deployments/cli/running.py", "run"),
    ("deployments/cli/doctoring.py", "_guarded"),
    ("deployments/cli/doctoring.py", "_repaired"),
    ("deployments/asking.py", "source_of"),
    ("collectors/consuming.py", "_tried"),
    ("blocks/checking.py", "_ask"),
    ("blocks/loader.py", "_enter_words"),
    ("collectors/reading.py", "read"),
    ("collectors/reading.py", "sift"),
    ("collectors/registry.py", "_imported"),
    ("deployments/cli/running.py", "follow"),
}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rooms_import_only_to_their_right():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_every_imported_package_is_declared_and_no_other():
    done = subprocess.run([Path(sys.executable).with_name("deptry"), "."], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_code_is_linted_and_formatted():
    for command in (["check"], ["format", "--check"]):
        ruff = [Path(sys.executable).with_name("ruff"), *command, "."]
        done = subprocess.run(ruff, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stdout


def test_modules_import_without_a_network_or_a_prefect_server():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES]
    named = [
        module for module in modules if not module.endswith(("__main__", "__init__")) and ".migrations." not in module
    ]
    python(
        "import socket\n"
        "def refused(*_): raise OSError('no network while importing')\n"
        "socket.socket.connect = refused\n"
        f"import importlib\nfor name in {named!r}: importlib.import_module(name)"
    )


def test_help_imports_nothing_heavy():
    heavy = ("prefect", "sqlalchemy", "pydantic", "httpx", "yaml")
    loaded = python(
        "import sys\nfrom deployments.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    assert "LOADED []" in loaded


def test_reading_commands_import_neither_prefect_nor_an_http_client():
    loaded = python(
        "import sys\nimport deployments.cli.looking, deployments.cli.browsing, deployments.cli.searching\n"
        "import deployments.cli.showing, deployments.cli.explaining, deployments.cli.looking_back\n"
        "import deployments.cli.audit\n"
        "import deployments.cli.configuring\n"
        "print([name for name in ('prefect', 'httpx', 'yaml', 'redis') if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_a_thing_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not [name for name in classes if name.endswith(EMPTY_WORDS)]
    assert path.stem not in ("utils", "helpers", "common", "misc")


def test_no_file_is_named_like_a_dependency_or_a_standard_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = {re.split(r"[<>=\[ ]", name)[0].replace("-", "_") for name in project["dependencies"]}
    taken = dependencies | set(sys.stdlib_module_names) | {"yaml", "aio_pika", "redis"} | set(ROOMS)
    assert not [path for path in SOURCES if path.stem in taken - {"__init__", "__main__"}]


def test_broad_excepts_are_where_they_are_meant_to_be():
    found = set()
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ExceptHandler) and re.search(
                        r"\b(Base)?Exception(Group)?\b", ast.unparse(node.type or ast.Name("Exception"))
                    ):
                        found.add((str(path.relative_to(ROOT)), function.name))
    assert found == BROAD_EXCEPTS


def test_the_state_pictures_show_the_moves_the_code_allows():
    text = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    pictures = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert len(pictures) == 2
    for picture, moves in zip(pictures, (RUN_MOVES, SHARD_MOVES), strict=True):
        drawn = {(source, target) for source, target in re.findall(r"(\w+) --> (\w+)", picture)}
        assert drawn == {(source.value, target.value) for source, targets in moves.items() for target in targets}


def test_the_tables_of_verbs_are_those_of_the_code():
    text = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    for what, verbs in (("run", RUN_VERBS), ("shard", SHARD_VERBS)):
        _, _, rest = text.partition(f"| a {what} | pause | resume | retry | cancel |\n|---|---|---|---|---|\n")
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rest.split("\n\n")[0].splitlines()]
        written = {verb: {row[0] for row in rows if row[place] == "yes"} for place, verb in enumerate(Verb, start=1)}
        assert written == {verb: set(states) for verb, states in verbs.items()}


def test_lock_files_name_no_host():
    for path in ROOT.glob("requirements*.lock"):
        assert "://" not in path.read_text(encoding="utf-8")
        assert "--hash=sha256:" in path.read_text(encoding="utf-8")


def test_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))
