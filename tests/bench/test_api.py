"""What the benchmark of the service offers and counts; how fast anything is is nobody's business here."""

import asyncio
import json
import time

from bench.api import bare, nodes, reads, told
from bench.offering import Offered, offered


def test_requests_are_offered_at_their_pace_and_each_is_counted():
    with bare() as address:
        began = time.perf_counter()
        found = asyncio.run(offered(address, "key", [("GET", "/", b"")] * 40, 100))
        took = time.perf_counter() - began
    assert found.statuses == {200: 40}
    assert len(found.seconds) == 40 and min(found.seconds) > 0
    assert took > 0.38


def test_percentiles_count_from_when_a_request_was_due():
    found = Offered([number / 100 for number in range(100)], {})
    assert (found.percentile(0.5), found.percentile(0.99)) == (0.5, 0.99)


def test_nodes_are_lines_of_an_import_and_reads_ask_for_them():
    lines = nodes(520)
    kinds = [json.loads(line)["kind"] for line in lines]
    assert (kinds.count("directory"), kinds.count("case")) == (20, 500)
    paths = [path for _, path, _ in reads(lines, "run", 200)]
    for part in ("/api/testcase/tree?root=", "/api/testcase/search?q=", "/api/task/run/status", "/api/runs"):
        assert any(part in path for path in paths)


def test_what_was_measured_is_told_in_lines():
    one = Offered([0.01], {200: 1})
    found = {
        "import": {"nodes": 1000, "megabytes": 1, "accepted": 0.5, "seconds": 2, "rate": 500, "loading": 1},
        "reads": one, "floor": one, "triggers": one, "tree": {"first": 0.05, "slowest": 0.1, "seconds": 1},
    }  # fmt: skip
    text = "\n".join(told(found))
    assert "202 after 0.50 s" in text and "p99 10.0 ms" in text and "bare server: 1.0" in text
