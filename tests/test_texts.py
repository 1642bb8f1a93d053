"""Everything that is said has a Chinese text with the same facts, and every error code has its page."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from collectors.chinese import TEXTS
from collectors.models import Retention, Retry, ShardRetry, Strategy
from collectors.sources import kiwi, testrail
from deployments.parameters import keys_of

ROOT = Path(__file__).parent.parent
ROOMS = ("collectors", "blocks", "tasks", "flows", "deployments")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# Which arguments of a call are texts for people: names and positions.
SPEAKERS = {
    "spoken": (0,),
    "say": (0,),
    "show_field": (0,),
    "print_columns": (0,),
    "CollectError": (0, 1),
    "Transient": (0, 1),
    "Throttled": (0, 2),
    "Rejected": (1,),
    "Misconfigured": (0, 1),
    "Unexpected": (0, 1),
    "Unreachable": (0, 1),
    "Unusable": (0, 1),
    "NotAllowed": (0, 1),
    "Refused": (0, 1),
    "Fenced": (0, 1),
    "HttpError": (0, 1),
}
ERRORS = SPEAKERS.keys() - {"spoken", "say", "show_field", "print_columns"}
LABELLED = ("columns", "lines")  # dicts of these names have headings or names of fields as keys
PAGE = re.compile(r"^## (COL-\d{4})$", re.MULTILINE)


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPEAKERS:
                yield path, node, node.func.id


def spoken(call: ast.Call, name: str) -> list[ast.expr]:
    return [call.args[position] for position in SPEAKERS[name] if position < len(call.args)]


def texts() -> Iterator[tuple[str, str]]:
    """Each text that has words in it, and where it stands."""
    for path, call, name in calls():
        for node in (node for argument in spoken(call, name) for node in ast.walk(argument)):
            if isinstance(node, ast.Constant) and re.search("[A-Za-z]", re.sub(r"{[^}]*}", "", str(node.value))):
                yield node.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def labels() -> Iterator[str]:
    for path in (ROOT / "deployments" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys)) if name in LABELLED:
                    yield from (key.value for key in keys)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def codes() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return set(re.findall(r'"(COL-\d{4})"', text))


def test_every_text_has_its_chinese():
    assert not {text: where for text, where in texts() if text not in TEXTS}


def test_every_heading_and_name_of_a_field_has_its_chinese():
    assert {"RUN", "TOOK", "hash", "rate"} <= set(labels())
    assert not set(labels()) - TEXTS.keys()


@pytest.mark.parametrize("model", [Strategy, Retry, ShardRetry, Retention, kiwi.Parameters, testrail.Parameters])
def test_every_key_of_a_collection_file_is_explained_in_chinese(model):
    assert not {key.description for key in keys_of(model) if key.key not in ("retry", "shard_retry")} - TEXTS.keys()


def test_a_chinese_text_speaks_of_the_same_facts():
    assert not {english for english, chinese in TEXTS.items() if places(english) != places(chinese)}


def test_no_chinese_text_is_left_over():
    found = {
        node.value
        for path in SOURCES
        if path.name != "chinese.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not TEXTS.keys() - found


@pytest.mark.parametrize("name", sorted(SPEAKERS))
def test_facts_are_handed_over_and_not_written_into_the_text(name):
    written = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call, found in calls()
        if found == name and any(isinstance(argument, ast.JoinedStr) for argument in spoken(call, name))
    ]
    assert not written


def test_every_error_has_a_code_of_its_own_kind():
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call, name in calls()
        if name in ERRORS - {"Rejected"} and not any(keyword.arg == "code" for keyword in call.keywords)
    ]
    assert not bare


def test_every_code_has_a_page_and_every_page_a_code():
    pages = PAGE.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    assert len(pages) == len(set(pages))
    assert set(pages) == codes()


def test_every_page_says_what_why_and_what_to_type():
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    _, *found = re.split(r"^## ", text, flags=re.MULTILINE)
    for page in found:
        for part in ("**What.**", "**Why we think so.**", "**What to type.**"):
            assert part in page, page[:40]
