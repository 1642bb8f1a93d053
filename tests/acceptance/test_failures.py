"""Shards that fail: tried again by their run, given up by its policy, done over when people say so."""

import json

import pytest

from collectors.testing.sample_calls import parsed

CASES = [{"id": number, "title": f"case {number}", "section_id": 1} for number in range(1, 13)]
TOP = [{"id": 1, "name": "top", "parent_id": None}]
LAST = len(CASES) - 2
OVERLAPPING = 3  # a page, and the last record of the one before
TWO_SHARDS = {"retry": {"attempts": 1}, "shard_size": 6, "page_size": 2, "concurrency": 1}
AT_ONCE = {"attempts": 3, "backoff": "fixed", "initial": 0.1}


@pytest.fixture
def failing(server):
    """So many requests for the last page of cases fail, with that status; surveys do not."""

    def made(times, status=503):
        left = [times]

        def answer(path):
            asked = parsed(path.partition("?")[2].encode())
            start, limit = (int(asked.parameters[name]) for name in ("offset", "limit"))
            name, items = ("cases", CASES) if asked.method == "get_cases" else ("sections", TOP)
            if name == "cases" and limit == OVERLAPPING and start + limit > LAST and left[0]:
                left[0] -= 1
                return status, "application/json", b'{"error": "not now"}'
            page = items[start : start + limit]
            more = f"/api/v2/{asked.method}/1&limit={limit}&offset={start + limit}" if items[start + limit :] else None
            body = {"offset": start, "limit": limit, "size": len(page), "_links": {"next": more}, name: page}
            return 200, "application/json", json.dumps(body).encode()

        server.answer = answer

    return made


def test_a_shard_is_tried_again_by_its_run_and_reads_on_from_its_checkpoint(collect, server, definition, failing):
    failing(2)
    result = collect.json("run", definition(server.url, strategy=TWO_SHARDS | {"shard_retry": AT_ONCE}))
    assert (result["state"], result["records"]["new"]) == ("COMPLETED", 13)
    shards = collect.json("shards", result["run_id"])
    assert [shard["attempts"] for shard in shards] == [1, 1, 3]
    assert [shard["retry_count"] for shard in shards] == [0, 0, 2]


def test_what_failed_is_done_over_and_what_was_complete_when_all_is(collect, server, definition, failing):
    failing(3)
    run = collect.json("run", definition(server.url, strategy=TWO_SHARDS), exit_code=3)
    assert (run["state"], run["records"]["new"], run["shards"]) == (
        "PARTIALLY_COMPLETED", 11, {"COMPLETED": 2, "FAILED": 1},
    )  # fmt: skip
    done = collect.json("retry", run["run_id"], "--max-retries", "2", "--interval", "0.1", "--backoff", "fixed")
    assert (done["run_id"], done["state"], done["records"]["new"]) == (run["run_id"], "COMPLETED", 13)
    assert "COL-0425" in collect("retry", run["run_id"], exit_code=4).stderr
    over = collect.json("retry", run["run_id"], "--scope", "all")
    counted = {name: count for name, count in over["records"].items() if count}
    assert (over["state"], counted) == ("COMPLETED", {"fetched": 13, "unchanged": 13})
    assert "COL-0277" in collect("retry", run["run_id"], "nothing", exit_code=2).stderr


@pytest.mark.parametrize(
    ("policy", "exit_code"),
    [
        ({"on_failure": "threshold", "max_errors": 1}, 1),
        ({"on_failure": "threshold", "max_errors": "50%"}, 3),
    ],
)
def test_a_policy_gives_a_run_up_or_goes_on(collect, server, definition, failing, policy, exit_code):
    failing(1)
    run = collect.json("run", definition(server.url, strategy=TWO_SHARDS | policy), exit_code=exit_code)
    assert run["state"] == {1: "FAILED", 3: "PARTIALLY_COMPLETED"}[exit_code]


def test_a_source_that_lets_us_in_no_more_fails_its_shard_at_once(collect, server, definition, failing):
    failing(100, 403)
    strategy = TWO_SHARDS | {"shard_retry": AT_ONCE, "on_failure": "fail-fast"}
    run = collect.json("run", definition(server.url, strategy=strategy), exit_code=1)
    assert run["state"] == "FAILED"
    assert [shard["attempts"] for shard in collect.json("shards", run["run_id"])] == [1, 1, 1]
