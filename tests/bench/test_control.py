"""What the benchmark of control counts and tells; how fast anything is is nobody's business here."""

from bench.control import PAGE, PAGES, SHARDS, definition, milliseconds, table


def test_a_run_is_cut_into_as_many_shards_as_it_is_to_have():
    records = SHARDS * PAGES * PAGE
    for shards in (SHARDS, 4):
        assert records / definition("c", "http://source", shards).strategy.shard_size == shards


def test_percentiles_are_told_in_milliseconds():
    assert milliseconds([number / 100 for number in range(100)], 0.95) == 950


def test_what_was_measured_is_told_beside_its_goal():
    names = ("p50", "p99", "bare p50", "bare p99", "cpu", "pause p95", "resume p95", "status p50", "status worst")
    found = dict.fromkeys(names, 7.0) | {"verbs": 500, "pauses": 5, "answers": {200: 500}}
    said = table(found)
    assert "| 500 verbs at 50/s, 10 runs of 100 shards: p50 | 7 ms | |" in said
    assert "| p99 | 7 ms | 100 ms |" in said
    assert "{200: 500}" in said
