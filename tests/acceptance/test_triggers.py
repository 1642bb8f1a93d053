"""One trigger, one run: the same ones again and again, by requests and by ticks, while the service is killed and comes
back. 400 in every run of the tests; `make faults` has ten thousand."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import httpx
import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Collection
from collectors.scheduling import micros, time_of
from deployments.ports import free_port

TRIGGERS = int(os.environ.get("COLLECT_TRIGGERS", "400"))
DIFFERENT = 4  # of requests, and of ticks
pytestmark = pytest.mark.timeout(120 + TRIGGERS / 10)


@pytest.fixture
def registered(collect, source):
    """A collection of which runs are allowed side by side: nothing but its trigger keeps a run from being made."""
    parameters = {"base_url": source.url, "project_id": 1, "suite_id": 1, "username": "u", "api_key": "k"}
    rarely = {"slug": "rarely", "cron": f"0 0 1 {(datetime.now(UTC) + timedelta(days=180)).month} *"}
    with open_storage(Settings(collect.home, None)) as storage:
        triggers = {"overlap": "allow", "catch_up": 2_000_000}
        values = {"collector": "testrail", "source": parameters, "schedule": rarely, "triggers": triggers}
        storage.registry.register(Collection(name="cases", **values))
        yield storage


@pytest.fixture
def service(collect):
    port, started = free_port(0), []

    def start():
        started.append(collect.start("serve", "--port", str(port), stderr=subprocess.DEVNULL))
        assert re.search("http://", started[-1].stdout.readline())

    def restart():
        started[-1].kill()
        started[-1].communicate()
        start()

    start()
    yield f"http://127.0.0.1:{port}", restart
    started[-1].terminate()
    started[-1].communicate(timeout=60)


@contextmanager
def asking(collect, address):
    key = json.loads(collect("keys", "create", "--role", "operator", "--json").stdout)["key"]
    with httpx.Client(
        base_url=address, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    ) as client:

        def asked(number):
            """Until it is answered, as whoever asks would."""
            while True:
                try:
                    answer = client.post("/api/collections/cases/runs", headers={"Idempotency-Key": f"key-{number}"})
                except httpx.TransportError:
                    continue
                if answer.status_code == 202:
                    return answer.json()["run_id"]

        yield asked


def test_whatever_is_triggered_again_is_the_same_run(collect, registered, service, until):
    address, restart = service
    now = registered.catalog.now()
    times = [micros(time_of(now - number * 1_000_000)) for number in range(DIFFERENT)]

    def noticed(number):
        return registered.ticks.notice("default", "cases", "rarely", times[number]).run_id

    random = Random(1)
    with asking(collect, address) as asked, ThreadPoolExecutor(8) as people:
        triggers = [(random.choice((asked, noticed)), random.randrange(DIFFERENT)) for _ in range(TRIGGERS)]
        told = []
        for third in range(3):
            part = triggers[third * TRIGGERS // 3 : (third + 1) * TRIGGERS // 3]
            answers = [(call.__name__, number, people.submit(call, number)) for call, number in part]
            if third:
                restart()
            told += [(name, number, each.result()) for name, number, each in answers]
    assert len(told) == TRIGGERS
    assert len(set(told)) == len({each[2] for each in told}) == 2 * DIFFERENT
    runs = registered.catalog.runs("default", limit=1_000)
    assert {each["run_id"] for each in runs} == {each[2] for each in told}
    until(lambda: {each["state"] for each in registered.catalog.runs("default")} == {"COMPLETED"}, 90)
