"""`register`, `apply`, `versions`, `rollback` and `schedule`, as they are typed."""

import os
from pathlib import Path

import pytest
import yaml

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection

KEY = "env:TESTS_API_KEY"
NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "Asia/Shanghai"}


@pytest.fixture(autouse=True)
def variable(monkeypatch):
    monkeypatch.setenv("TESTS_API_KEY", "sample")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "collections"
    made.mkdir()
    return made


@pytest.fixture
def file(folder, source):
    def written(path="tests.yaml", **fields):
        parameters = {
            "base_url": source.url,
            "project_id": 1,
            "suite_id": 1,
            "username": "u",
            "api_key": "env:TESTS_API_KEY",
        }
        values = {"name": "tests", "collector": "testrail", "source": parameters | fields.pop("parameters", {})}
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(values | fields))
        return str(folder / path)

    return written


@pytest.fixture
def run(collect):
    collect.environment["TESTS_API_KEY"] = "sample"
    return collect


def test_a_file_is_registered_and_again_changes_nothing(run, file):
    path = file(schedule=NIGHTLY)
    (first,), (second,) = run.json("register", path), run.json("register", path)
    assert (first["version"], second["version"], second["differences"]) == (1, 1, [])
    (listed,) = [each for each in run.json("list") if each["name"] == "tests"]
    assert listed["version"] == 1


def test_a_dry_run_tells_and_does_nothing(run, file):
    told = run("register", file(schedule=NIGHTLY), "--dry-run").stdout
    assert "schedule.nightly.cron  - -> 0 2 * * *" in told
    assert run("versions", "tests", exit_code=2).stderr.count("COL-0204") == 1


def test_of_several_files_none_is_registered_when_one_is_wrong(run, file):
    good, bad = file("a.yaml", name="good"), file("b.yaml", name="bad", parameters={"api_key": "sample"})
    assert "COL-0284" in run("register", good, bad, exit_code=2).stderr
    assert "api_key: env:BAD_API_KEY" in run("register", good, bad, exit_code=2).stderr
    assert "good" not in [each["name"] for each in run.json("list")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"schedule": {"cron": "0 0 30 2 *"}}, "COL-0299"),
        ({"schedule": {"cron": "often"}}, "COL-0235"),
        ({"schedule": {"cron": "0 2 * * *", "timezone": "Moon/Base"}}, "COL-0235"),
        ({"collector": "gone"}, "COL-0230"),
        ({"parameters": {"api_key": "env:NOT_SET_ANYWHERE"}}, "COL-0234"),
    ],
)
def test_what_can_never_work_is_refused_by_its_key(run, file, fields, code):
    assert code in run("register", file(**fields), exit_code=2).stderr


def test_a_source_that_is_not_there_is_told_unless_it_is_not_asked(run, file):
    path = file(parameters={"base_url": "http://127.0.0.1:9"}, strategy={"retry": {"attempts": 1}})
    assert "COL-0306" in run("register", path, exit_code=1).stderr
    assert run.json("register", path, "--offline")[0]["version"] == 1


def test_what_somebody_else_has_changed_is_shown_and_kept(run, file):
    run("register", file())
    run("register", file(strategy={"concurrency": 2}), "--expect", "1")
    refused = run("register", file(strategy={"concurrency": 3}), "--expect", "1", exit_code=4)
    assert "COL-0434" in refused.stderr
    assert "strategy.concurrency  3 -> 2" in refused.stderr
    assert len(run.json("versions", "tests")) == 2


def test_versions_are_listed_shown_compared_and_put_in_force_again(run, file):
    run("register", file())
    run("register", file(strategy={"concurrency": 2}))
    assert [each["changes"] for each in run.json("versions", "tests")] == ["strategy.concurrency", ""]
    assert yaml.safe_load(run("versions", "tests", "2").stdout)["strategy"] == {"concurrency": 2}
    assert run("versions", "tests", "1", "2").stdout.strip() == "strategy.concurrency  - -> 2"
    assert run.json("rollback", "tests", "1")[0]["version"] == 3
    assert "COL-0297" in run("rollback", "tests", "9", exit_code=2).stderr


# ---- a folder ----------------------------------------------------------------------------------------------


def test_a_folder_is_the_truth(run, file, folder):
    file("a.yaml", name="a")
    file("deep/b.yml", name="b")
    assert run("apply", str(folder), "--dry-run", exit_code=3)
    assert [each["version"] for each in run.json("apply", str(folder))] == [1, 1]
    assert run("apply", str(folder)).returncode == 0
    (folder / "a.yaml").unlink()
    assert "a is registered and has no file here" in run("apply", str(folder), exit_code=3).stderr
    assert run("apply", str(folder), "--prune").returncode == 0
    assert "COL-0282" in run("schedule", "list", "a", exit_code=2).stderr
    assert run("schedule", "list", "b").returncode == 0


def test_two_files_of_one_name_are_refused(run, file, folder):
    file("a.yaml"), file("b.yaml")
    refused = run("apply", str(folder), exit_code=2).stderr
    assert all(word in refused for word in ("COL-0296", "a.yaml", "b.yaml", "tests"))
    assert "COL-0298" in run("apply", "nowhere", exit_code=2).stderr


# ---- schedules ---------------------------------------------------------------------------------------------


def test_schedules_are_listed_in_words_and_switched(run, file):
    run("register", file(schedule=[NIGHTLY, {"slug": "hourly", "interval": 3600}]))
    assert [each["words"] for each in run.json("schedule", "list", "tests")] == ["every 3600 s", "At 02:00"]
    run("schedule", "pause", "tests", "nightly", "--reason", "a holiday")
    (row,) = [each for each in run.json("schedule", "list") if not each["active"]]
    assert (row["slug"], row["next"], row["reason"]) == ("nightly", None, "a holiday")
    run("schedule", "resume", "tests")
    assert all(each["active"] for each in run.json("schedule", "list", "tests"))
    assert "Did you mean nightly" in run("schedule", "pause", "tests", "nigthly", exit_code=2).stderr


def test_the_next_times_are_told_where_the_schedule_tells_the_time(run, file):
    run("register", file(schedule=NIGHTLY, triggers={"blackout": [{"start": "17:30", "end": "18:30"}]}))
    found = run.json("schedule", "next", "tests", "--count", "3")
    assert all(each["due"].endswith("T02:00:00+08:00") for each in found)
    assert [each["dark"] for each in found] == [True] * 3  # it is 18:00 where the blackout tells the time


def test_unregistered_it_is_known_and_not_due(run, file):
    run("register", file(schedule=NIGHTLY))
    run("unregister", "tests")
    assert run.json("schedule", "list") == []
    assert len(run.json("versions", "tests")) == 1
    assert "COL-0282" in run("unregister", "tests", exit_code=2).stderr


# ---- Prefect -----------------------------------------------------------------------------------------------


def test_with_prefect_away_it_is_kept_and_applied_later(run, file, prefect_server):
    path = file(schedule=NIGHTLY)
    run("list")
    environment = {"COLLECT_WORK_POOL": "local", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    run.environment |= environment
    assert "does not answer" in run.json("register", path)[0]["waits"]
    assert [each["slug"] for each in run.json("schedule", "list")] == ["nightly"]
    with open_storage(Settings(run.home, None)) as storage:
        assert "does not answer" in storage.registry.registration("default", "tests")["failed"]
    drift = run("apply", str(Path(path).parent), "--dry-run", "--offline", exit_code=3)
    assert "does not answer" in drift.stderr
    run.environment |= prefect_server
    (again,) = run.json("register", path)
    assert "work pool" in again["waits"].casefold()


def test_from_python_it_is_the_same(run, file, monkeypatch):
    from deployments.registering import register

    values = yaml.safe_load(Path(file(schedule=NIGHTLY)).read_text())
    monkeypatch.setenv("COLLECT_HOME", str(run.home))
    done = register(Collection(**values), expected=0)
    assert (done.version, done.waits, os.environ.get("PREFECT_API_URL")) == (1, None, None)
    assert run.json("schedule", "list")[0]["collection"] == "tests"
