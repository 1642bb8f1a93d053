"""A run that is under way follows what is set meanwhile: how many shards it reads at a time, and how fast it asks."""

import json
import time
from collections import Counter

import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.testing import sample
from collectors.testing.serving import served

IN_FORCE = 2.0  # seconds
DEMO = ("default", "cases")
# Four shards of cases of a hundred pages each; a tenth of a second a page.
SLOW = sample.Settings(cases=4_000, directories=3, page_size=10, latency=0.1)
STRATEGY = {"shard_size": 1_000, "page_size": 10, "concurrency": 1}


class Watched:
    """The sample source, and when each request to it came, with how many were being answered then."""

    def __init__(self):
        self._application, self._answering = sample.application(SLOW), 0
        self.came = []

    async def __call__(self, scope, receive, send):
        self._answering += 1
        self.came.append((time.monotonic(), self._answering))
        try:
            await self._application(scope, receive, send)
        finally:
            self._answering -= 1

    def since(self, moment):
        return [at for at, _ in self.came if at >= moment]

    def side_by_side(self, since, count):
        """When so many, or more, were being answered."""
        return [at for at, answering in self.came if at >= since and answering >= count]

    def hurried(self, since):
        """When the fourth of four requests came of which four a second would take longer."""
        found = self.since(since)
        return [last for first, last in zip(found, found[3:], strict=False) if last - first < 0.6]


@pytest.fixture
def source():
    watched = Watched()
    with served(watched) as url:
        watched.url = url
        yield watched


@pytest.fixture
def storage(collect):
    with open_storage(Settings(collect.home, None)) as opened:
        yield opened


@pytest.fixture
def running(collect, source, storage, tmp_path, until):
    """A run in a process of its own, of which one shard of cases is being read."""
    file, of = tmp_path / "cases.yaml", {"project_id": 1, "suite_id": 1, "username": "reader", "api_key": "secret-key"}
    definition = {"name": "cases", "collector": "testrail", "source": of | {"base_url": source.url}}
    file.write_text(json.dumps(definition | {"strategy": STRATEGY}), encoding="utf-8")
    process = collect.start("run", str(file), "--json")
    try:
        until(lambda: states(storage)["RUNNING"] and len(source.came) > 20)
        yield process
    finally:
        process.kill()
        process.communicate()


def states(storage):
    runs = storage.catalog.runs("default")
    return Counter(each["state"] for each in storage.catalog.shards(runs[0]["run_id"])) if runs else Counter()


def test_a_run_under_way_reads_more_and_fewer_shards_side_by_side_and_as_fast_as_it_may(
    collect, source, storage, running, until
):
    def changed(change, *what):
        change(DEMO, *what)
        return time.monotonic()

    config, took = storage.config, {}
    assert not source.side_by_side(0, 2)

    at = changed(config.set, "concurrency", 3)
    took["raised"] = until(lambda: source.side_by_side(at, 2), IN_FORCE)[0] - at
    until(lambda: source.side_by_side(at, 3))

    at = changed(config.set, "concurrency", 1)
    until(lambda: len(source.since(at + IN_FORCE)) >= 8)
    took["lowered"] = max(source.side_by_side(at, 2), default=at) - at
    assert states(storage)["RUNNING"] == 3  # they wait at their checkpoints, and keep what they have

    at = changed(config.rollback, "concurrency", 1)
    took["rolled back"] = until(lambda: source.side_by_side(at, 2), IN_FORCE)[0] - at

    at = changed(config.set, "requests_per_second", 4)
    until(lambda: len(source.since(at + IN_FORCE)) >= 9)
    took["limited"] = max(source.hurried(at), default=at) - at

    at = changed(config.unset, "requests_per_second")
    took["unlimited"] = until(lambda: source.hurried(at), IN_FORCE)[0] - at

    print(*(f"{what} after {seconds:.2f} s" for what, seconds in took.items()), sep=", ")
    assert max(took.values()) <= IN_FORCE
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, out + err
    assert {each["attempts"] for each in storage.catalog.shards(json.loads(out)["run_id"])} == {1}
    assert len(collect.export("cases")) == SLOW.cases + SLOW.directories
