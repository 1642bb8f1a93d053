"""Shards that fail: tried again by their run, given up by its policy, done over when people say so."""

import json
import sqlite3
import threading
from contextlib import closing

import pytest

from collectors.testing.sample_calls import parsed

CASES = [{"id": number, "title": f"case {number}", "section_id": 1} for number in range(1, 13)]
TOP = [{"id": 1, "name": "top", "parent_id": None}]
LAST = len(CASES) - 2
OVERLAPPING = 3  # a page, and the last record of the one before
PAGE = 2
PATIENCE = 30.0
TWO_SHARDS = {"retry": {"attempts": 1}, "shard_size": 6, "page_size": 2, "concurrency": 1}
AT_ONCE = {"attempts": 3, "backoff": "fixed", "initial": 0.1}


@pytest.fixture
def failing(server):
    """So many requests for the last page of cases fail, with that status; surveys do not."""

    def made(times, status=503):
        left = [times]

        def answer(path):
            name, start, limit = asked(path)
            if name == "cases" and limit == OVERLAPPING and start + limit > LAST and left[0]:
                left[0] -= 1
                return refusal(status)
            return page_of(name, start, limit)

        server.answer = answer

    return made


def asked(path):
    """What of which list: its name, and the offset and the limit."""
    call = parsed(path.partition("?")[2].encode())
    return call.method.removeprefix("get_"), int(call.parameters["offset"]), int(call.parameters["limit"])


def refusal(status):
    return status, "application/json", b'{"error": "not now"}'


def page_of(name, start, limit):
    items = CASES if name == "cases" else TOP
    page = items[start : start + limit]
    more = f"/api/v2/get_{name}/1&limit={limit}&offset={start + limit}" if items[start + limit :] else None
    body = {"offset": start, "limit": limit, "size": len(page), "_links": {"next": more}, name: page}
    return 200, "application/json", json.dumps(body).encode()


def of_a_shard(name, start, limit):
    """Whether a shard of cases asks for it; a survey asks for single records, and for the last page."""
    return name == "cases" and (limit == OVERLAPPING or (limit == PAGE and start < LAST))


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
    run = collect.json("run", definition(server.url, strategy=TWO_SHARDS | {"shard_retry": AT_ONCE}), exit_code=3)
    assert (run["state"], run["shards"]) == ("PARTIALLY_COMPLETED", {"COMPLETED": 2, "FAILED": 1})
    shards = collect.json("shards", run["run_id"])
    assert [shard["attempts"] for shard in shards] == [1, 1, 1]
    assert "COL-0315" in shards[-1]["error"]


def test_a_source_that_lets_nobody_read_cases_is_no_success(collect, server, definition):
    """Not even in part: the directories were read, and the policy is to go on."""
    server.answer = lambda path: refusal(403) if of_a_shard(*asked(path)) else page_of(*asked(path))
    run = collect.json("run", definition(server.url, strategy=TWO_SHARDS | {"shard_retry": AT_ONCE}), exit_code=1)
    assert (run["state"], run["records"]["new"]) == ("FAILED", 1)
    assert "COL-0315" in run["error"]
    assert [shard["attempts"] for shard in collect.json("shards", run["run_id"])] == [1, 1, 1]


def test_siblings_of_a_shard_that_failed_stop_at_their_next_checkpoint(collect, server, definition, until):
    """One fails while the other reads its first page, which is answered when the run is told to stop."""
    reading, seen = threading.Event(), []

    def told_to_stop():
        with closing(sqlite3.connect(collect.home / "collect.db", timeout=PATIENCE)) as database:
            return database.execute("SELECT count(*) FROM run WHERE desired = 'leave'").fetchone()[0]

    def answer(path):
        name, start, limit = asked(path)
        if not of_a_shard(name, start, limit):
            return page_of(name, start, limit)
        seen.append(start)
        if start == 0:
            assert reading.wait(PATIENCE)
            return refusal(403)
        reading.set()
        until(told_to_stop)
        return page_of(name, start, limit)

    server.answer = answer
    strategy = TWO_SHARDS | {"shard_size": 4, "concurrency": 2, "on_failure": "fail-fast"}
    run = collect.json("run", definition(server.url, strategy=strategy), exit_code=1)
    assert run["state"] == "FAILED"
    assert sorted(seen) == [0, 3]  # with the last record before it
    assert [shard["state"] for shard in collect.json("shards", run["run_id"])] == [
        "COMPLETED", "FAILED", "PAUSED", "PENDING",
    ]  # fmt: skip
