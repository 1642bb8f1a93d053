"""Storms of verbs over a whole system: a Prefect server with a worker, the service, a slow source; all of them real.

Verbs come by REST, by command, from Python and as Prefect's page and commands send them, while workers, the service and
commands are killed. Meanwhile only legal moves are made, no page is lost again, one process owns a shard at a time, and
whoever asks is answered with reason; afterwards everything is read, each page once.

A storm is drawn the same way each time; one that found something is printed, and may be added to KNOWN as it stands.
"""

import os
import re
import socket
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import CollectError, Misconfigured, Refused
from collectors.models import Collection
from collectors.states import ENDED_SHARDS, RUN_MOVES, SHARD_MOVES, RunState, ShardState
from flows import control
from tests.pools import POOL, kill, running_pool
from tests.properties.test_storms import reachable

STORMS = int(os.environ.get("COLLECT_VERB_STORMS", "6"))
# Two shards of cases of forty pages each, a fifth of a second a page.
SLOW = ("--cases", "800", "--directories", "3", "--page-size", "10", "--latency", "0.2")
STRATEGY = {"shard_size": 400, "page_size": 10, "concurrency": 2}
SHARDS = ("s02", "s03")
LOOK_EVERY = 0.1
TO_END = 420.0  # what hangs before it begins is started anew after five minutes
ANSWERS = (200, 202, 404, 409)
# How a command ends: done, failed, no such shard yet, in parts, refused; or its run was paused.
ENDS = (0, 1, 2, 3, 4, 130)


class Asked(NamedTuple):
    who: str
    verb: str
    shard: str | None = None
    looks: int = 0  # for so many looks nothing else happens


class Killed(NamedTuple):
    what: str
    looks: int = 0


@dataclass(frozen=True)
class Storm:
    placement: str
    handed_over: bool  # whether the service leaves runs to the workers
    steps: tuple[Asked | Killed, ...]
    given_up: bool = False


LOOKS = st.integers(0, 30)
ASKED = st.builds(
    Asked,
    st.sampled_from(["rest", "command", "python", "page", "prefect"]),
    st.sampled_from(["pause", "stop", "resume", "retry", "cancel"]),
    st.sampled_from([None, *SHARDS]),
    LOOKS,
).filter(lambda step: (step.verb, step.shard) != ("cancel", None))
KILLED = st.builds(Killed, st.sampled_from(["workers", "service", "commands"]), LOOKS)
DRAWN = st.builds(
    Storm,
    st.sampled_from(["pool", "inline"]),
    st.booleans(),
    st.lists(st.one_of(ASKED, ASKED, ASKED, KILLED), min_size=8, max_size=16).map(tuple),
    st.sampled_from([False, False, False, True]),
)


class Seen(NamedTuple):
    """A row of a run or a shard, as one look found it."""

    state: str
    page: int
    fence: int
    since: int | None  # what is read anew begins anew


class Watch:
    """Looks at a run again and again; what is not as promised is kept."""

    def __init__(self, storage, run_id):
        self._storage, self._run_id = storage, run_id
        self._seen, self._owners = {}, {}
        self._looks, self._looked, self._stop = 0, Condition(), Event()
        self._thread = Thread(target=self._watch)
        self.wrong = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def wait(self, looks=1):
        until = self._looks + looks
        with self._looked:
            assert self._looked.wait_for(lambda: self._looks >= until, TO_END), self.wrong

    def _watch(self):
        while not self._stop.wait(LOOK_EVERY):
            try:
                self._look()
            except CollectError as error:
                self.wrong.append(str(error))
            with self._looked:
                self._looks += 1
                self._looked.notify_all()

    def _look(self):
        catalog = self._storage.catalog
        row = catalog.run(self._run_id)
        self._compare(None, RUN_MOVES, Seen(RunState(row["state"]), 0, row["fence"], None))
        for row in catalog.shards(self._run_id):
            id, state = row["shard_id"], ShardState(row["state"])
            self._compare(id, SHARD_MOVES, Seen(state, row["page"], row["fence"], row["started_at"]))
            if row["owner"] and self._owners.setdefault((id, row["fence"]), row["owner"]) != row["owner"]:
                self.wrong.append(f"{id} has two owners: {self._owners[id, row['fence']]}, {row['owner']}")

    def _compare(self, which, moves, now):
        before = self._seen.get(which, now)
        lost = now.since == before.since and now.page < before.page
        if lost or now.fence < before.fence or not reachable(moves, before.state, now.state):
            self.wrong.append(f"{which or 'the run'}: {before} became {now}")
        self._seen[which] = now


class Platform:
    """A Prefect server, workers, the service, commands: all that is asked, and all that may be killed."""

    def __init__(self, pool, source):
        self.pool, self.collect, self.source = pool, pool.collect, source
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = str(probe.getsockname()[1])
        key = self.collect.json("keys", "create", "--role", "operator")["key"]
        address, headers = f"http://127.0.0.1:{self._port}", {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=60)
        self._service, self._commands, self._storms = None, [], 0
        self.wrong = []

    def close(self):
        self._client.close()

    # ---- processes ---------------------------------------------------------------------------------------

    @contextmanager
    def serving(self, handed_over):
        self._options = ("--work-pool", POOL) if handed_over else ()
        self._serve()
        try:
            yield
        finally:
            self.kill_commands()
            self._end_service()

    def _serve(self):
        with (self.pool.folder / "service.log").open("a") as log:
            self._service = self.collect.start("serve", "--port", self._port, *self._options, stderr=log)
        assert re.search(r"http://\S+", self._service.stdout.readline())

    def _end_service(self):
        kill(self._service)

    def kill_service(self):
        self._end_service()
        self._serve()

    def kill_workers(self):
        self.pool.kill_workers()
        self.pool.worker()

    def kill_commands(self):
        for each in self._commands:
            kill(each)
        self._commands.clear()

    def end_commands(self):
        """They are not killed: whatever a command has to say, it says in its own words."""
        for each in self._commands:
            out, err = each.communicate(timeout=TO_END)
            if each.returncode not in ENDS or "Traceback" in err:
                self.wrong.append(f"{each.args} {each.returncode}: {out}{err}")
        self._commands.clear()

    # ---- who asks ----------------------------------------------------------------------------------------

    def rest(self, storage, run_id, verb, shard):
        at = f"/api/task/{run_id}/" + (f"shards/{shard}/" if shard else "")
        path, body = (f"{at}pause", {"hard": True}) if verb == "stop" else (f"{at}{verb}", {})
        answer = self._client.post(path, json=body)
        told = answer.json()
        if answer.status_code not in ANSWERS or ("code" if answer.status_code >= 400 else "run_id") not in told:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text}")
        return told

    def command(self, storage, run_id, verb, shard):
        words = ("pause", "--hard") if verb == "stop" else (verb,)
        self._commands.append(self.collect.start(*words, f"{run_id}/{shard}" if shard else run_id))

    def python(self, storage, run_id, verb, shard):
        with suppress(Refused, Misconfigured):  # it may not be planned yet
            if verb == "retry":
                control.retry(storage, run_id, "specific" if shard else "failed", (shard,) if shard else ())
            elif verb in ("pause", "stop"):
                control.pause(storage, run_id, shard, "a storm", verb == "stop")
            else:
                getattr(control, verb)(storage, run_id, shard)

    def page(self, storage, run_id, verb, shard):
        """Prefect's: the buttons it shows for a flow run of a deployment in its state."""
        button = "Pause" if verb == "stop" else verb.title()
        if (found := self._flow_run(storage, run_id, shard)) and button in buttons(found["state"]["type"]):
            self.pool.press(button, found["id"])

    def prefect(self, storage, run_id, verb, shard):
        """Its command has two of the verbs."""
        found = self._flow_run(storage, run_id, shard)
        if found and verb in ("cancel", "retry") and verb.title() in buttons(found["state"]["type"]):
            with suppress(AssertionError):  # it may have ended meanwhile
                self.pool.prefect("flow-run", verb, found["id"])

    def _flow_run(self, storage, run_id, shard):
        row = storage.catalog.run(run_id)
        if shard:
            row = next((each for each in storage.catalog.shards(run_id) if each["shard_id"] == shard), row)
            if "shard_id" not in row:
                return None
        found = row["flow_run_id"] and self.pool.call(f"/flow_runs/{row['flow_run_id']}")
        return found if found and found["deployment_id"] else None

    # ---- a storm -----------------------------------------------------------------------------------------

    def weather(self, storm, until):
        self.wrong.clear()
        with self.serving(storm.handed_over), open_storage(Settings(self.collect.home, None)) as storage:
            name, run_id = self._started(storage, storm)
            with Watch(storage, run_id) as watch:
                self._carried(storm, storage, run_id, watch)
                if storm.given_up:
                    self._given_up(storage, run_id, watch, until)
                else:
                    self._brought_to_its_end(storage, run_id, watch, until)
                self.end_commands()
        assert self.wrong + watch.wrong == []
        if not storm.given_up:
            self._is_whole(name, run_id)

    def _started(self, storage, storm):
        self._storms += 1
        name = f"storm{self._storms}"
        parameters = {"base_url": self.source.url, "project_id": 1, "suite_id": 1, "username": "u", "api_key": "k"}
        values = {"collector": "testrail", "source": parameters, "strategy": STRATEGY}
        storage.registry.remember(Collection(name=name, placement=storm.placement, **values))
        answer = self._client.post(f"/api/collections/{name}/runs")
        assert answer.status_code == 202, answer.text
        return name, answer.json()["run_id"]

    def _carried(self, storm, storage, run_id, watch):
        kills = {"workers": self.kill_workers, "service": self.kill_service, "commands": self.kill_commands}
        for step in storm.steps:
            if isinstance(step, Killed):
                kills[step.what]()
            else:
                getattr(self, step.who)(storage, run_id, step.verb, step.shard)
            watch.wait(step.looks)

    def _given_up(self, storage, run_id, watch, until):
        def is_cancelled():
            watch.wait()
            return self.rest(storage, run_id, "cancel", None)["state"] == RunState.CANCELLED

        until(is_cancelled, TO_END)
        states = {each["state"] for each in storage.catalog.shards(run_id)}
        assert states <= ENDED_SHARDS
        asked = self.source.ask("stats")
        watch.wait(20)
        assert self.source.ask("stats") == asked
        assert self.rest(storage, run_id, "resume", None)["code"] == "COL-0431"

    def _brought_to_its_end(self, storage, run_id, watch, until):
        def is_complete():
            watch.wait()
            state = self._seen_to(storage, run_id)
            assert state != RunState.CANCELLED
            return state == RunState.COMPLETED

        until(is_complete, TO_END)

    def _seen_to(self, storage, run_id):
        """What people do who want the run complete: resume what is paused, retry what has failed or was given up."""
        found, row = storage.control.look(run_id), storage.catalog.run(run_id)
        if found.state == RunState.PAUSED or (found.state == RunState.RUNNING and not (found.led or row["awaited"])):
            self.rest(storage, run_id, "resume", None)
        for each in storage.catalog.shards(run_id):
            state = storage.control.look(run_id, each["shard_id"]).state
            if state == ShardState.PAUSED:
                self.rest(storage, run_id, "resume", each["shard_id"])
            elif state in (ShardState.FAILED, ShardState.CANCELLED):
                self.rest(storage, run_id, "retry", each["shard_id"])
        return found.state

    def _is_whole(self, name, run_id):
        expected = self.source.expected()
        held = {key: (line["path"], line["content_hash"]) for key, line in self.collect.export(name).items()}
        assert held == expected
        told = self.collect.json("status", run_id)
        assert (told["state"], told["progress"]["current"]) == ("COMPLETED", len(expected))


def buttons(state):
    """What Prefect's page offers in a state."""
    over = state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    if over:
        return ("Retry",)
    return ("Resume", "Cancel") if state == "PAUSED" else ("Pause", "Cancel", "Retry")


@pytest.fixture(scope="module")
def platform(tmp_path_factory, new_collect, new_source):
    folder = tmp_path_factory.mktemp("storms")
    with (
        running_pool(folder, new_collect) as pool,
        new_source(folder, *SLOW) as source,
        closing(Platform(pool, source)) as found,
    ):
        yield found


KNOWN = {
    "one of each": Storm(
        "pool",
        False,
        (
            Asked("rest", "pause", "s02", 60),
            Asked("python", "resume", "s02", 10),
            Asked("page", "pause", "s03", 10),
            Killed("service", 5),
            Asked("command", "cancel", "s03", 10),
        ),
    ),
}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("storm", KNOWN)
def test_a_storm_that_is_known(platform, until, storm):
    platform.weather(KNOWN[storm], until)


@pytest.mark.faults
@pytest.mark.timeout(900 * STORMS)
def test_storms(platform, until):
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate]

    @settings(max_examples=STORMS, derandomize=True, phases=phases, suppress_health_check=health, database=None)
    @given(DRAWN)
    def drawn(storm):
        platform.weather(storm, until)

    drawn()
