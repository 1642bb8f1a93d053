"""The modes of a run at the installed command: what is read, where the next one begins, and what is gone."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture
def collected(collect, source):
    source.collection("cases", extra="strategy: {overlap: 0, shard_size: 300}\n")
    collect("run", str(source.folder / "cases.yaml"))
    return collect


def stored(collect):
    return {key: (each["path"], each["content_hash"]) for key, each in collect.export("cases").items()}


def records(collect, *arguments, exit_code=0):
    return collect.json("run", "cases", *arguments, exit_code=exit_code)["records"]


def test_an_incremental_run_finds_what_changed_and_a_full_one_what_is_gone(collected, source):
    cases = [id for kind, id in stored(collected) if kind == "case"]
    for id in cases[:3]:
        source.change("update", kind="case", id=int(id))
    for id in cases[-4:]:
        source.change("delete", kind="case", id=int(id))
    source.change("add", count=2)
    found = records(collected, "--mode", "incremental")
    assert (found["new"], found["changed"], found["deleted"]) == (2, 3, 0)
    assert stored(collected).items() >= source.expected().items()
    assert records(collected)["deleted"] == 4
    assert stored(collected) == source.expected()


def test_a_directory_that_vanished_and_one_that_moved(collected, source):
    directories = [each for each in collected.export("cases").values() if each["kind"] == "directory"]
    gone, moved = (each["id"] for each in sorted(directories, key=lambda each: -each["path"].count("/"))[:2])
    source.change("move", kind="directory", id=int(moved), parent_id=None)
    source.change("delete", kind="directory", id=int(gone))
    run = collected.json("run", "cases")
    assert run["state"] == "COMPLETED"
    assert stored(collected) == source.expected()
    _twins_are_told(collected, run)


def _twins_are_told(collect, run):
    """By the run and by its status; the sample source has some."""
    siblings = Counter((each["kind"], each["parent_id"], each["name"]) for each in collect.export("cases").values())
    (found,) = run["quality"]
    assert (found["check"], found["count"]) == ("duplicate", sum(times > 1 for times in siblings.values()))
    assert collect.json("status", run["run_id"])["quality"] == run["quality"]
    assert f"{found['count']} duplicate: {found['examples'][0]}" in collect("status", run["run_id"]).stdout


def test_a_source_that_was_restored_from_a_backup_is_told_and_wins_when_people_say_so(collect, server, definition):
    def stands(name, at):
        body = json.dumps([{"id": 1, "section_id": None, "title": name, "updated_on": at}]).encode()
        server.answer = lambda path: (200, "application/json", body if "get_cases" in path else b"[]")

    stands("newer", 200)
    collect("run", definition(server.url))
    stands("of the backup", 100)
    run = collect.json("run", "cases")
    assert (run["state"], run["records"]["changed"], run["records"]["regressed"]) == ("COMPLETED", 0, 1)
    assert [notice.partition(":")[0] for notice in run["notices"]] == ["COL-0421"]
    collect("epoch", "cases", "--bump")
    run = collect.json("run", "cases")
    assert (run["state"], run["records"]["changed"], run["notices"]) == ("COMPLETED", 1, [])


def test_more_missing_than_the_guard_allows_deletes_nothing_and_says_so(collected, source):
    before = stored(collected)
    source.change("delete", count=len([key for key in before if key[0] == "case"]) // 2)
    run = collected.json("run", "cases", exit_code=3)
    assert run["state"] == "PARTIALLY_COMPLETED"
    assert "COL-0417" in run["error"]
    assert stored(collected) == before
    status = collected.json("status", run["run_id"])
    assert status["notices"] == [run["error"]]


def test_a_range_reads_its_part_and_moves_no_watermark(collected, source):
    mark = collected.json("watermark", "show", "cases")
    ids = sorted(int(id) for kind, id in stored(collected) if kind == "case")
    source.change("update", kind="case", id=ids[0])
    source.change("update", kind="case", id=ids[-1])
    assert records(collected, "--ids", f"{ids[-1]}..")["changed"] == 1
    assert stored(collected)["case", str(ids[0])] != source.expected()["case", str(ids[0])]
    assert collected.json("watermark", "show", "cases") == mark
    top = collected.json("tree", "cases")[0]
    assert records(collected, "--under", top["path"])["fetched"] > top["cases"]
    assert "COL-0271" in collected("run", "cases", "--under", f"{top['path']}/x", exit_code=1).stdout


def test_a_range_without_a_case_says_so_and_one_in_the_future_is_refused(collect, server, definition):
    server.answer = lambda _: (200, "application/json", b'[{"id": 1, "name": "one", "title": "one"}]')
    file = definition(server.url)
    assert "COL-0274" in collect("run", file, "--since", "2999-01-01T00:00:00Z", exit_code=2).stderr
    run = collect.json("run", file, "--ids", "900000..900010")
    assert run["state"] == "COMPLETED" and "COL-0460" in run["notices"][0]


def test_a_watermark_is_shown_set_back_and_taken_away(collected):
    assert collected.json("watermark", "show", "cases")["watermark"]
    assert "2020-01-01" in collected("watermark", "set", "cases", "2020-01-01T00:00:00Z").stderr
    assert records(collected, "--mode", "incremental")["fetched"] == len(stored(collected))
    collected("watermark", "reset", "cases")
    run = collected.json("run", "cases", "--mode", "incremental")
    assert "COL-0420" in run["notices"][0]
    assert not collected.json("run", "cases", "--mode", "incremental")["notices"]
    as_another = collected.json("run", "cases", "--mode", "incremental", "--set", "source.username=another")
    assert "COL-0420" in as_another["notices"][0]
    for time, code in (("2020-01-01T00:00:00", "COL-0273"), ("soon", "COL-0273"), ("2999-01-01T00:00:00Z", "COL-0274")):
        assert code in collected("watermark", "set", "cases", time, exit_code=2).stderr
    assert "COL-0204" in collected("watermark", "show", "nothing", exit_code=2).stderr


# ---- what is wrong with the tree ---------------------------------------------------------------------------

HOUSE = """
from collectors.sources.testrail import TestRail

class House(TestRail):
    async def counts(self):
        return {"1": 5}
"""
PARENTS = {1: None, 2: 1, 3: 1, 4: 5, 5: 4, 6: 4, 7: 99, 8: 1}
NAMES = {2: "same", 3: "same", 8: "n" * 1_000}
WRONG = {
    "orphan": ["directory 7"],
    "duplicate": ["directory 3"],
    "cycle": ["directory 4", "directory 5"],
    "level": ["directory 6"],
    "path": ["directory 8"],
    "count": ["directory 1: 1 of 5"],
}


def test_each_thing_that_is_wrong_with_a_tree_is_told(collect, server, definition, plug_in, tmp_path):
    sections = [{"id": id, "name": NAMES.get(id, f"d{id}"), "parent_id": parent} for id, parent in PARENTS.items()]

    def answer(path):
        rows = sections if "get_sections" in path else [{"id": 1, "title": "one", "section_id": 1}]
        start, limit = (int(re.search(rf"{name}=(\d+)", path)[1]) for name in ("offset", "limit"))
        return 200, "application/json", json.dumps(rows[start : start + limit]).encode()

    server.answer = answer
    plug_in("house_rail:House", HOUSE)
    collect.environment["PYTHONPATH"] = str(tmp_path)
    run = collect.json("run", definition(server.url, collector="house"))
    assert {each["check"]: each["examples"] for each in run["quality"]} == WRONG
    assert collect.json("status", run["run_id"])["quality"] == run["quality"]
    said = collect("status", run["run_id"]).stdout
    assert all(check in said and examples[0] in said for check, examples in WRONG.items())


# ---- what was ----------------------------------------------------------------------------------------------


def test_a_source_that_does_not_tell_its_time_moves_no_watermark_and_that_is_said(collect, server, definition):
    server.RequestHandlerClass.tells_time = False
    server.answer = lambda _: (200, "application/json", b'[{"id": 1, "name": "one", "title": "one"}]')
    run = collect.json("run", definition(server.url))
    assert run["state"] == "COMPLETED"
    assert "COL-0436" in "".join(collect.json("status", run["run_id"])["notices"])
    assert collect.json("watermark", "show", "cases")["watermark"] is None


@pytest.fixture
def twice(collected, source):
    """Two runs; between them one case was added, one updated, one moved, one deleted."""
    before = collected.json("status", "--collection", "cases")[0]["run_id"]
    cases = [each for each in collected.export("cases").values() if each["kind"] == "case"]
    updated, moved, gone = (each["id"] for each in cases[:3])
    elsewhere = next(each["parent_id"] for each in cases if each["parent_id"] != cases[1]["parent_id"])
    source.change("update", kind="case", id=int(updated))
    source.change("move", kind="case", id=int(moved), parent_id=int(elsewhere))
    source.change("delete", kind="case", id=int(gone))
    source.change("add", count=1)
    after = collected.json("run", "cases")["run_id"]
    return collected, before, after, {"changed": updated, "moved": moved, "deleted": gone}


def test_what_was(twice, source):
    """One pair of runs is looked at from all sides: each costs ten seconds."""
    _what_became_of_the_records(*twice)
    _what_a_record_was(*twice)
    _the_tree_as_a_run_left_it(*twice)
    _a_retry_of_all_leaves_its_own_tree(twice[0], source, twice[2])


def _what_became_of_the_records(collect, before, after, expected):
    found = collect.json("diff", "cases", "--from", before, "--to", after)
    assert {each["change"]: each["id"] for each in found if each["change"] != "added"} == expected
    assert sorted(each["change"] for each in found) == ["added", "changed", "deleted", "moved"]
    assert collect.json("diff", "cases", "--from", after) == []
    assert collect.json("diff", "cases", "--from", before) == found
    assert f"moved\tcase\t{expected['moved']}\t" in collect("diff", "cases", "--from", before).stdout
    assert "COL-0276" in collect("diff", "cases", "--from", after, "--to", before, exit_code=2).stderr
    ever = collect.json("diff", "cases", "--from", "2000-01-01T00:00:00Z")
    assert {each["change"] for each in ever} == {"added"}  # nothing was there then
    assert "COL-0273" in collect("diff", "cases", "--from", "2026-01-01", exit_code=2).stderr
    assert "COL-0279" in collect("diff", "cases", "--from", "yesterday", exit_code=2).stderr
    assert "COL-0205" in collect("diff", "cases", "--from", "00000000", exit_code=2).stderr


def _what_a_record_was(collect, before, after, expected):
    found = collect.json("history", expected["moved"], "--collection", "cases", "--kind", "case")
    assert [(each["change"], each["fields"]) for each in found] == [("added", []), ("moved", ["parent_id"])]
    assert [each["run_id"] for each in found] == [before, after]
    assert found[0]["parent_id"] != found[1]["parent_id"]
    gone = collect.json("history", expected["deleted"], "--collection", "cases", "--kind", "case")
    assert [(each["change"], each["deleted"]) for each in gone] == [("added", False), ("deleted", True)]
    assert "COL-0245" in collect("history", "nothing", exit_code=2).stderr


def _the_tree_as_a_run_left_it(collect, before, after, _):
    now = collect.json("tree", "cases")
    assert collect.json("tree", "cases", "--at", after) == now
    then = collect.json("tree", "cases", "--at", before)
    assert then != now
    ended = collect.json("status", before)["ended_at"]
    assert ended
    later = datetime.fromisoformat(ended) + timedelta(seconds=1)  # what is shown has no fractions
    assert collect.json("tree", "cases", "--at", later.isoformat()) == then


def _a_retry_of_all_leaves_its_own_tree(collect, source, after):
    source.change("add", count=1)
    done = collect.json("retry", after, "--scope", "all")
    assert (done["records"]["new"], done["records"]["changed"]) == (1, 0)
    assert stored(collect) == source.expected()
    assert collect.json("tree", "cases", "--at", after) == collect.json("tree", "cases")
    assert collect.json("diff", "cases", "--from", after) == []
    for time in ("0001-01-01T00:00:00Z", "1969-01-01T00:00:00Z"):
        assert "COL-0273" in collect("diff", "cases", "--from", time, exit_code=2).stderr
    for time in ("12345", "2999-01-01T00:00:00Z"):
        assert "COL-0279" in collect("tree", "cases", "--at", time, exit_code=2).stderr
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert "nothing of cases was there then" in collect("tree", "cases", "--at", yesterday).stderr
    assert "COL-0278" in collect("retry", after, "s01", "--scope", "all", exit_code=2).stderr
