"""`collect search`, as it is typed."""

import os
import pty
import re
import shlex
import subprocess
import sys

import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Document
from collectors.testing.vocabulary import CHINESE
from deployments.cli.searching import search


@pytest.fixture
def searched(typed, tmp_path, testrail, gathered):
    """The command, in a folder with a collection: directory 支付, cases 付款 and 退款."""
    gathered(tmp_path / "home", testrail.definition())
    return typed


def store(home, *documents):
    fields = {"tenant": "default", "collection": "cases", "kind": "case", "version": "b", "deleted": False}
    fields |= {"content_hash": "0" * 64, "path": "/a"}
    with open_storage(Settings(home, None)) as storage:
        storage.documents.write([Document(**fields | each) for each in documents])


def test_what_was_collected_is_found_by_two_characters_of_its_name(searched):
    said = searched("search", "退款")
    assert said.stdout == "cases case 4\t/支付/\t【退款】\n"
    assert said.stderr.startswith("1 hits in ") and said.stderr.endswith(" ms, no more\n")
    (hit,) = searched("search", "支付", "--kind", "directory", "--json").json
    assert hit == {
        "collection": "cases",
        "kind": "directory",
        "id": "1",
        "path": "/支付",
        "name": "支付",
        "field": "name",
        "snippet": "【支付】",
    }


def test_several_words_have_to_occur_all_quoted_or_not(searched, tmp_path):
    content = {"steps": ["Open the refund page"], "expectedResults": ["退款失败"]}
    store(tmp_path / "home", {"id": "9", "name": "n", "content": content})
    for words in (["REFUND", "失败"], ["失败 refund"]):
        assert [hit["id"] for hit in searched("search", *words, "--json").json] == ["9"]
    assert searched("search", "refund", "银河", "--json").json == []


def test_no_hit_is_no_failure(searched):
    said = searched("search", "银河")
    assert (said.stdout, said.stderr[:10]) == ("", "0 hits in ")
    assert said.stderr.endswith("try fewer or other words; what there is: collect tree\n")
    assert searched("search", "银河", "--collection", "cases").stderr.endswith(": collect tree cases\n")
    assert searched("search", "银河", "--tenant", "other").stderr.endswith(": collect tree --tenant other\n")
    assert searched("search", "银河", "--json").stdout == "[]\n"


@pytest.mark.parametrize("words", [[], [""], ['"'], ["--", "-*"]])
def test_nothing_to_search_is_wrong_usage(searched, words):
    assert "error COL-0260" in searched("search", *words, exit_code=2).stderr


def test_wrong_usage_is_refused(searched):
    assert "COL-0228" in searched("search", "退款", "--collection", "other", exit_code=2).stderr
    assert "COL-0228" in searched("search", "退款", "--collection", "", exit_code=2).stderr
    assert "COL-0201" in searched("search", "退款", "--kind", "shard", exit_code=2).stderr
    assert "COL-0201" in searched("search", "退款", "--limit", "0", exit_code=2).stderr


def test_search_keeps_to_what_is_asked_for(searched):
    def found(*options):
        return [hit["id"] for hit in searched("search", "款", "--json", *options).json]

    assert found() == found("--collection", "cases") == found("--under", "/支付") == ["1", "4"]
    assert found("--tenant", "other") == found("--under", "/支") == found("--kind", "directory") == []


@pytest.mark.parametrize(("under", "empty"), [("/支", True), ("/_付", True), ("/支付", False), ("/支付/退款/", False)])
def test_a_path_nothing_hangs_below_is_told_so(searched, under, empty):
    said = searched("search", "银河", "--under", under).stderr
    assert (f"nothing hangs below {under}" in said) is empty
    assert ("fewer or other words" in said) is not empty


def test_the_examples_words_occur_in_the_demo():
    words = re.search(r"collect search (.*)", search.__doc__)[1].split()
    checks = [check for module in CHINESE.modules for check in module.checks]
    assert any(all(word in check for word in words) for check in checks)


@pytest.mark.parametrize("words", [["款"], ["--", "-款"]])
def test_more_hits_are_a_command_away(searched, words):
    said = searched("search", "--limit", "1", "--collection", "cases", "款")
    assert said.stdout.count("\n") == 1
    command = shlex.split(said.stderr.partition("More: collect ")[2])
    assert "--limit=10" in command
    assert searched(*command).stdout.count("\n") == 2


def test_hits_are_said_in_the_users_language(searched, monkeypatch):
    monkeypatch.setenv("COLLECT_LANG", "zh")
    assert "1 条结果" in searched("search", "退款").stderr
    assert "没有可以搜索的内容" in searched("search", "%", exit_code=2).stderr


def test_nothing_that_was_collected_steers_the_terminal_and_hits_are_coloured_on_one(searched, tmp_path, monkeypatch):
    store(tmp_path / "home", {"id": "\x1b[2J", "name": "\x1b]0;x\x07 退款\nb", "path": "/\x9b\u202e"})
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "deployments.cli", "search", "--limit", "9", "--", "0;x", "退款"]
    assert subprocess.run(command, stdout=theirs, timeout=60).returncode == 0
    line = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    marked = [f"\x1b[31m【{hit}】\x1b[0m" for hit in ("0;x", "退款")]
    assert line == r"cases case \x1b[2J  /\x9b\u202e  \x1b]{}\x07 {} b".format(*marked) + "\r\n"
