"""Who did what, as the command shows it; keys that take the place of others."""

import json
import sqlite3
from contextlib import closing

import pytest

from blocks.acting import PERSON
from blocks.sql.audit_chain import Fault
from deployments.cli.audit import _said

FAULTS = [
    Fault("edited", 3), Fault("edited", None), Fault("missing", 3, 5), Fault("out-of-order", 3, 2),
    Fault("cut-off", 3), Fault("cut-off", 3, 5), Fault("cut-off", None), Fault("unknown-key", 3, "k"),
    Fault("unknown-key", None, "k"), Fault("not-the-anchor", 3),
]  # fmt: skip


@pytest.fixture
def key_id(typed):
    """A key whose making is the first entry."""
    return typed("keys", "create", "--role", "operator", "--name", "nightly", "--json").json["key_id"]


@pytest.fixture
def change(tmp_path):
    """Changes the database behind the back of the product."""

    def changed(statement):
        with closing(sqlite3.connect(tmp_path / "home" / "collect.db")) as connection, connection:
            connection.execute(statement)

    return changed


def test_who_did_what_is_shown_newest_first(typed, key_id):
    typed("keys", "revoke", key_id)
    newest, first = typed("audit", "list", "--json").json
    assert (newest["action"], first["action"]) == ("keys revoke", "keys create")
    assert (first["actor"], first["subject"], first["tenant"]) == (PERSON, key_id, "default")
    assert first["details"] == {"role": "operator", "name": "nightly", "days": 90}
    number, _, *line = typed("audit").stdout.splitlines()[1].split("\t")
    assert number == "1"
    assert line == [PERSON, "default", "keys create", key_id, "days=90  name=nightly  role=operator"]
    assert typed("audit", "list", "--tenant", "acme", "--json").json == []
    assert len(typed("audit", "list", "--limit", "1").stdout.splitlines()) == 1


def test_what_stands_as_it_was_written_has_an_anchor(typed, key_id):
    said = typed("audit", "verify")
    assert "1 entries stand" in said.stderr
    anchor = said.stdout.strip()
    typed("keys", "revoke", key_id)
    found = typed("audit", "verify", "--anchor", anchor, "--json").json
    assert (found["whole"], found["entries"], found["faults"]) == (True, 2, [])
    assert found["anchor"] != anchor


def test_nothing_is_whole(typed):
    assert typed("audit", "verify", "--json").json == {"whole": True, "entries": 0, "anchor": None, "faults": []}


def test_what_was_changed_is_named(typed, key_id, change):
    change("UPDATE audit SET actor = 'somebody'")
    assert "entry 1 was edited" in typed("audit", "verify", exit_code=1).stderr
    found = json.loads(typed("audit", "verify", "--json", exit_code=1).stdout)
    assert (found["whole"], found["faults"]) == (False, [{"how": "edited", "number": 1, "other": None}])


def test_what_an_anchor_had_and_is_gone_is_named(typed, key_id, change):
    anchor = typed("audit", "verify").stdout.strip()
    change("DELETE FROM audit")
    change("DELETE FROM audit_end")
    assert "entry 1 is not there" in typed("audit", "verify", "--anchor", anchor, exit_code=1).stderr


@pytest.mark.parametrize("anchor", ["", "1", "1:abc", "x:" + "0" * 64, "1" * 19 + ":" + "0" * 64])
def test_what_is_no_anchor_is_refused(typed, anchor):
    assert "COL-0292" in typed("audit", "verify", "--anchor", anchor, exit_code=2).stderr


def test_each_fault_is_said_in_words_of_its_own():
    said = [_said(each) for each in FAULTS]
    assert len(set(said)) == len(FAULTS)
    assert not any("None" in each for each in said)


def test_a_key_that_is_rotated_has_a_successor(typed, key_id):
    made = typed("keys", "rotate", key_id, "--json").json
    old, new = typed("keys", "list", "--json").json
    assert new["key_id"] == made["key_id"]
    assert [new[name] for name in ("role", "name", "tenant")] == ["operator", "nightly", "default"]
    assert old["valid"] and new["valid"] and old["expires_at"] < new["expires_at"]
    said = typed("keys", "rotate", key_id, "--hours", "0")
    assert said.stdout.startswith("pck_") and "0 hours" in said.stderr
    assert [each["valid"] for each in typed("keys", "list", "--json").json] == [False, True, True]
    assert "COL-0291" in typed("keys", "rotate", key_id, exit_code=2).stderr
