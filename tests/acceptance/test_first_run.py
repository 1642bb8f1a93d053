"""The main job by the installed command, on real servers: collect a tree, look at it, change it, collect it again."""

import json
import sqlite3
from types import SimpleNamespace

import pytest
from httpx import Client


def held(records):
    return {key: (line["path"], line["content_hash"]) for key, line in records.items()}


@pytest.fixture(scope="module")
def collected(tmp_path_factory, prefect_server, new_collect, new_source):
    """One finished run of 600 cases in 40 directories, to look at."""
    folder = tmp_path_factory.mktemp("collected")
    collect = new_collect(folder / "home", **prefect_server)
    with new_source(folder, "--cases", "600", "--directories", "40", "--page-size", "50") as source:
        result = collect.json("run", source.collection())
        yield SimpleNamespace(collect=collect, source=source, result=result, run_id=result["run_id"])


def test_a_run_holds_exactly_what_the_source_has(collected):
    result = collected.result
    assert result["state"] == "COMPLETED"
    assert result["mode"] == "full"
    assert result["records"] == {
        "fetched": 640, "new": 640, "changed": 0, "unchanged": 0, "regressed": 0, "quarantined": 0, "deleted": 0,
    }  # fmt: skip
    assert result["shards"] == {"COMPLETED": 2}
    assert result["seconds"] > 0
    assert result["rate"] == pytest.approx(640 / result["seconds"], rel=0.01)
    assert held(collected.collect.export("cases")) == collected.source.expected()


def test_a_second_run_changes_what_changed_and_nothing_else(collect, source):
    collect("run", source.collection())
    before = collect.export("cases")
    renamed = next(id for kind, id in before if kind == "directory" and before[kind, id]["parent_id"] is None)
    moved = next(
        line for (kind, _), line in before.items() if kind == "case" and not line["path"].startswith("/" + renamed)
    )
    source.change("update", kind="directory", id=renamed, name="支付/Payments")
    source.change("move", kind="case", id=moved["id"], parent_id=renamed)
    source.change("delete", kind="case", id=_other(before, moved["id"]), flag=True)
    added = source.change("add", kind="case", parent_id=renamed, name="新用例")

    result = collect.json("run", "cases")

    assert result["records"] == {
        "fetched": 641, "new": 1, "changed": 2, "unchanged": 637, "regressed": 0, "quarantined": 0, "deleted": 1,
    }  # fmt: skip
    after = collect.export("cases")
    assert held(after) == source.expected()
    assert after["case", str(added["id"])]["path"] == "/支付\\/Payments/新用例"


def _other(records, not_this):
    return next(id for kind, id in records if kind == "case" and id != not_this)


def test_reading_commands_agree_with_the_run(collected):
    collect, run_id = collected.collect, collected.run_id

    status = collect.json("status", run_id)
    assert (status["run_id"], status["collection"], status["state"]) == (run_id, "cases", "COMPLETED")
    assert status["progress"] == {"total": 640, "current": 640, "success": 640, "failure": 0, "phase": "ended"}
    assert [each["run_id"] for each in collect.json("status")] == [run_id]

    shards = collect.json("shards", run_id)
    assert [(each["shard_id"], each["stage"], each["state"]) for each in shards] == [
        ("s01", "directories", "COMPLETED"),
        ("s02", "cases", "COMPLETED"),
    ]
    assert sum(each["progress"]["current"] for each in shards) == 640

    listed = {each["name"]: each for each in collect.json("list")}
    assert (listed["cases"]["directories"], listed["cases"]["cases"]) == (40, 600)
    assert "demo" in listed
    assert collect.json("quarantine", run_id) == []


def test_the_tree_shows_the_nesting_and_counts_every_case(collected):
    top = collected.collect.json("tree")
    paths = {}

    def visit(node, above):
        paths[node["id"]] = f"{above}/{node['name'].replace('/', chr(92) + '/')}"
        assert node["path"] == paths[node["id"]]
        below = sum(visit(child, paths[node["id"]]) for child in node["children"])
        assert node["cases"] >= below
        return node["cases"]

    assert sum(visit(node, "") for node in top) == 600
    assert len(paths) == 40
    drawn = collected.collect("tree", "cases", "--depth", "1").stdout.splitlines()
    assert drawn[0] == "cases  600 cases"
    assert len(drawn) == 1 + len(top)


def test_what_is_piped_is_tab_separated(collected):
    lines = collected.collect("status").stdout.splitlines()
    assert lines[0].split("\t")[:3] == [collected.run_id, "cases", "COMPLETED"]
    assert "\x1b" not in "".join(lines)


def test_shards_follow_the_strategy_and_an_override_holds_for_one_run(collect, source):
    strategy = "strategy:\n  shard_size: 100\n  page_size: 50\n  concurrency: 2\n  batch_size: 20\n"
    result = collect.json("run", source.collection(extra=strategy), "--set", "strategy.shard_size=200")
    assert result["shards"] == {"COMPLETED": 4}
    assert held(collect.export("cases")) == source.expected()
    said = collect("run", "cases")
    assert "640 unchanged" in said.stdout
    assert "/runs/flow-run/" in said.stderr and "/runs/flow-run/" not in said.stdout
    assert len(collect.json("shards", collect.json("status")[0]["run_id"])) == 7


def test_an_export_to_a_file_is_whole(collected, tmp_path):
    collected.collect("export", "cases", "--output", str(tmp_path / "all.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 640
    assert set(lines[0]) == {
        "kind", "id", "parent_id", "path", "name", "content", "metadata", "version", "content_hash", "deleted",
    }  # fmt: skip
    case = next(line for line in lines if line["kind"] == "case")
    assert len(case["content"]["steps"]) == len(case["content"]["expectedResults"])
    assert {"tags", "priority"} <= set(case["metadata"])


def test_prefect_shows_the_run_its_shards_and_what_it_did(collected, prefect_server):
    run_id = collected.run_id
    flow_run_id = collected.collect.json("status", run_id)["flow_run_id"]
    with Client(base_url=prefect_server["PREFECT_API_URL"] + "/") as prefect:
        run = prefect.get(f"flow_runs/{flow_run_id}").json()
        assert run["name"] == f"cases full {run_id}"
        assert run["state_type"] == "COMPLETED"
        assert set(run["tags"]) == {"collection:cases", "mode:full", "tenant:default"}
        assert "secret-key" not in json.dumps(run)
        children = prefect.post(
            "flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [flow_run_id]}}}
        ).json()
        assert {child["name"]: child["state_type"] for child in children} == {
            f"{run_id}/s01": "COMPLETED",
            f"{run_id}/s02": "COMPLETED",
        }
        artifacts = prefect.post(
            "artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        ).json()
        summary = next(each for each in artifacts if each["key"] == f"summary-{run_id}")
        assert "640 records" in summary["data"]
        progress = next(each for each in artifacts if each["key"] == f"progress-{run_id}")
        assert progress["data"] == 100.0


def test_a_run_goes_on_through_errors_and_rate_limits(collect, sample):
    with sample("--cases", "300", "--directories", "10", "--page-size", "50", "--error-rate", "0.2") as source:
        retry = "strategy:\n  retry: {initial: 0.01, maximum: 0.1, attempts: 12}\n"
        assert collect.json("run", source.collection(extra=retry))["state"] == "COMPLETED"
        assert source.ask("stats")["errors"] > 0
        assert held(collect.export("cases")) == source.expected()


def test_the_stores_can_be_read_by_their_owner_only(collected):
    collect = collected.collect
    assert (collect.home.stat().st_mode & 0o777) == 0o700
    for name in ("collect.db", "documents.db"):
        assert (collect.home / name).stat().st_mode & 0o077 == 0
    with sqlite3.connect(collect.home / "collect.db") as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (1,)


def test_an_empty_source_is_a_completed_run(collect, sample):
    with sample("--cases", "0", "--directories", "0") as source:
        result = collect.json("run", source.collection())
        assert (result["state"], result["records"]["fetched"], result["shards"]) == ("COMPLETED", 0, {})
        assert collect("export", "cases").stdout == ""
