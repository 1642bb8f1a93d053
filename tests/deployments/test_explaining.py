"""What was collected, where it came from, and what went wrong: `show` and `errors`."""


def test_a_record_is_shown_with_its_origin(typed, tmp_path, testrail, gathered):
    run_id = gathered(tmp_path / "home", testrail.definition(page_size=3))
    found = typed("show", "4", "--json").json
    assert (found["kind"], found["path"], found["content"]["steps"]) == ("case", "/支付/退款", [])
    origin = {name: found["first"][name] for name in ("run_id", "shard_id", "page", "part")}
    assert origin == {"run_id": run_id, "shard_id": "s02", "page": 2, "part": 1}
    assert found["version"]["observation"] == found["last"]["observation"] > 0

    ambiguous = typed("show", "1", exit_code=2).stderr
    assert "directory of cases, case of cases" in ambiguous
    assert "collect show 1 --collection cases --kind directory" in ambiguous
    shown = typed("show", "1", "--kind", "case").stdout
    for text in ("case 1  付款", "version 1700000000 of the source", f"run {run_id}, shard s02, page 1"):
        assert text in shown
    assert "collect search" in typed("show", "2", exit_code=2).stderr
    assert "COL-0228" in typed("show", "4", "--collection", "other", exit_code=2).stderr


def test_errors_are_a_line_for_each_cause_of_the_newest_runs(typed, tmp_path, testrail, gathered):
    testrail.broken = "get_cases.*limit=4&offset=0"
    failed = gathered(tmp_path / "home", testrail.definition("broken", page_size=4))
    older = gathered(tmp_path / "home", testrail.definition(page_size=3))
    newer = gathered(tmp_path / "home", testrail.definition(max_errors=2))

    found = typed("errors", "--json").json
    assert {each["run_id"] for each in found} == {failed, newer}
    causes = {(each["collection"], each["cause"]): each for each in found}
    assert causes["cases", "missing-id"]["count"] == 2
    assert causes["cases", "missing-name"]["count"] == 1
    (error,) = (each for each in found if each["run_id"] == failed)
    assert error["count"] == 1 and "collect resume" in error["fix"]
    assert "failed with 500" in error["example"] and error["cause"].startswith("COL-03")
    (refused,) = (each for each in found if each["kind"] == "error" and each["run_id"] == newer)
    assert "max_errors" in refused["example"] and "collect quarantine" in refused["fix"]

    assert [each["count"] for each in typed("errors", older, "--json").json] == [2, 1]
    assert f"{older}\tcases\t2\tmissing-id\t" in typed("errors", older).stdout
    assert "nothing went wrong" in typed("errors", "--tenant", "other").stderr
