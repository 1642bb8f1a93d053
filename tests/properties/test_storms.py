"""Storms of verbs while workers read, die, freeze and come back: only legal moves, one effective writer a shard,
nothing lost or counted twice, and every run ends as it was told.

On the real catalog of a folder; a page is a number, and a shard the pages 0..n.
"""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Fenced, Refused
from collectors.models import Batch, Collection, Record, ShardPlan
from collectors.states import RUN_MOVES, SHARD_MOVES, Desired, RunState, ShardState

STORMS = int(os.environ.get("COLLECT_STORMS", "60"))
PAGES, SHARDS = 3, ("s01", "s02", "s03")
SOURCE = {"base_url": "http://source", "project_id": 1, "username": "u", "api_key": "k"}
DEFINITION = Collection(name="cases", collector="testrail", source=SOURCE)
ANYTHING = st.sampled_from([None, *SHARDS])


def reachable(moves, start, end):
    """Several moves may have been made between two looks."""
    found, todo = {start}, [start]
    for state in todo:
        new = moves[state] - found
        found |= new
        todo += new
    return end in found


class Storm(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = TemporaryDirectory()
        self.opened = open_storage(Settings(Path(self.folder.name) / "home", None))
        self.storage = self.opened.__enter__()
        self.catalog, self.shards, self.control = self.storage.catalog, self.storage.shards, self.storage.control
        self.workers = 0
        self.claims = {}
        self.stale = []
        self.leads = None
        self.cancelled = False
        self.run = self.catalog.begin(DEFINITION, self._worker()).run_id
        self._lead_now()
        plans = [ShardPlan(shard_id=id, stage="cases", label=id, span={}, estimate=PAGES) for id in SHARDS]
        self.catalog.save_plan(self.leads, plans, 1.0)
        self.seen = self._states()

    def _worker(self):
        self.workers += 1
        return f"elsewhere:{self.workers}:1"

    def _states(self):
        run = self.catalog.run(self.run)
        return RunState(run["state"]), {
            row["shard_id"]: ShardState(row["state"]) for row in self.catalog.shards(self.run)
        }

    def _lead_now(self):
        row = self.catalog.run(self.run)
        self.leads = self.catalog.lead(self.run, row["owner"] or self._worker())

    def _expire(self, table, *which):
        condition = " AND shard_id = ?" if which else ""
        with self.storage.shards._database.write() as connection:
            connection.exec_driver_sql(
                f"UPDATE {table} SET lease_until = 1 WHERE run_id = ? AND lease_until > 0{condition}",
                (self.run, *which),
            )

    # ---- what people do ----------------------------------------------------------------------------------

    @rule(shard=ANYTHING, hard=st.booleans())
    def pause(self, shard, hard):
        with suppress(Refused):
            self.control.pause(self.run, shard, "a storm", hard)

    @rule(shard=ANYTHING, awaited=st.booleans())
    def resume(self, shard, awaited):
        with suppress(Refused):
            self.control.resume(self.run, shard, awaited)

    @rule(shard=st.sampled_from(SHARDS))
    def cancel_shard(self, shard):
        with suppress(Refused):
            self.control.cancel(self.run, shard)

    @rule(shard=ANYTHING)
    def retry(self, shard):
        with suppress(Refused):
            self.control.retry(self.run, "specific" if shard else "failed", (shard,) if shard else ())

    # ---- what processes do -------------------------------------------------------------------------------

    @rule(shard=st.sampled_from(SHARDS))
    def claim(self, shard):
        due = {each["shard_id"] for each in self.catalog.due(self.run, "cases", 9)}
        try:
            claim = self.shards.claim(self.run, shard, self._worker())
        except Refused:
            return
        assert shard in due or self.seen[1][shard] is ShardState.FAILED
        if shard in self.claims:
            self.stale.append(self.claims[shard])
        self.claims[shard] = claim

    @rule(shard=st.sampled_from(SHARDS))
    def read(self, shard):
        if claim := self.claims.get(shard):
            self._page(claim)

    def _page(self, claim):
        row = self.catalog.shard(self.run, claim.shard_id)
        page = row["page"]
        record = Record(kind="case", id=f"{claim.shard_id}-{page}", name="n")
        batch = Batch("default", "cases", self.run, claim.shard_id, f"{page}.0", self.shards.observe(), (record,))
        try:
            standing = self.shards.checkpoint(claim, page, page + 1 if page + 1 < PAGES else None, [batch], [], 1)
            self.storage.rows.apply(batch)
            self.storage.rows.finish(batch)
            if page + 1 == PAGES:
                self._release(claim, ShardState.COMPLETED)
            elif standing.desired is not Desired.RUN:
                self._release(claim, ShardState.CANCELLED if standing.desired is Desired.CANCEL else ShardState.PAUSED)
        except Fenced:
            self._forget(claim)

    def _release(self, claim, state):
        self.shards.release(claim, state, "it broke" if state is ShardState.FAILED else None)
        self._forget(claim)

    def _forget(self, claim):
        if self.claims.get(claim.shard_id) is claim:
            del self.claims[claim.shard_id]

    @rule(shard=st.sampled_from(SHARDS))
    def fail(self, shard):
        if claim := self.claims.get(shard):
            with suppress(Fenced):
                self._release(claim, ShardState.FAILED)
            self._forget(claim)

    @rule(shard=st.sampled_from(SHARDS))
    def die(self, shard):
        """Or freeze: it may come back."""
        if claim := self.claims.pop(shard, None):
            self.stale.append(claim)
            self._expire("shard", shard)

    @rule()
    def come_back(self):
        if self.stale:
            claim = self.stale.pop()
            row = self.catalog.shard(self.run, claim.shard_id)
            if (row["fence"], row["owner"]) != (claim.fence, claim.owner):
                for write in (
                    lambda: self.shards.checkpoint(claim, row["page"], 99, [], [], 1),
                    lambda: self.shards.release(claim, ShardState.COMPLETED),
                    lambda: self.shards.renew(claim),
                ):
                    try:
                        write()
                    except Fenced:
                        continue
                    raise AssertionError("a worker that was shut out has written")

    @rule()
    def leader_dies(self):
        self._expire("run")
        self.leads = None

    @rule()
    def lead(self):
        with suppress(Refused):
            self._lead_now()

    @rule()
    def rest_or_end(self):
        """As the leader does when nothing is left to be read, or it is told to stop."""
        if self.leads is None:
            return
        _, shards = self._states()
        wish = self.catalog.desired(self.run)
        with suppress(Fenced):
            if wish is Desired.PAUSE and not self.claims:
                self.catalog.rest(self.leads)
            elif wish is Desired.STOP and not self.claims:
                self.catalog.end(self.leads, RunState.PAUSED)
            elif all(
                state in (ShardState.COMPLETED, ShardState.FAILED, ShardState.CANCELLED) for state in shards.values()
            ):
                whole = set(shards.values()) == {ShardState.COMPLETED}
                self.catalog.end(self.leads, RunState.COMPLETED if whole else RunState.PARTIALLY_COMPLETED)
            elif wish is Desired.RUN and self._states()[0] is RunState.PAUSED:
                self.catalog.wake(self.leads)

    @rule()
    def settle(self):
        self.control.settle(self.run)

    # ---- what holds --------------------------------------------------------------------------------------

    @invariant()
    def only_legal_moves(self):
        if not hasattr(self, "seen"):
            return
        run, shards = self._states()
        assert reachable(RUN_MOVES, self.seen[0], run), (self.seen[0], run)
        for id, state in shards.items():
            assert reachable(SHARD_MOVES, self.seen[1][id], state), (id, self.seen[1][id], state)
        self.seen = run, shards

    @invariant()
    def each_page_counts_once(self):
        if hasattr(self, "seen"):
            for row in self.catalog.shards(self.run):
                assert row["fetched"] == row["page"] <= PAGES

    def teardown(self):
        """Afterwards all is resumed and done over, and the run is complete."""
        if not hasattr(self, "storage"):
            return
        try:
            self._brought_to_its_end()
        finally:
            self.opened.__exit__(None, None, None)
            self.folder.cleanup()

    def _brought_to_its_end(self):
        self.claims.clear()
        for table in ("run", "shard"):
            self._expire(table)
        self.control.settle(self.run)
        for shard in (None, *SHARDS):
            with suppress(Refused):
                self.control.resume(self.run, shard)
        given_up = [id for id, state in self._states()[1].items() if state in (ShardState.CANCELLED, ShardState.FAILED)]
        if given_up:
            self.control.retry(self.run, "specific", given_up)
        if self._states()[0] is not RunState.COMPLETED:
            self._lead_now()
            while due := self.catalog.due(self.run, "cases", 1):
                claim = self.shards.claim(self.run, due[0]["shard_id"], self._worker())
                while self.catalog.shard(self.run, claim.shard_id)["state"] == ShardState.RUNNING:
                    self._page(claim)
            self.catalog.end(self.leads, RunState.COMPLETED)
        assert set(self._states()[1].values()) == {ShardState.COMPLETED}
        live = [row["id"] for rows in self.storage.rows.live("default", "cases", "case") for row in rows]
        assert sorted(live) == sorted(f"{shard}-{page}" for shard in SHARDS for page in range(PAGES))
        assert self.catalog.applied(self.run)["new"] == PAGES * len(SHARDS)


def test_storms():
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Storm,
        settings=settings(max_examples=STORMS, stateful_step_count=40, deadline=None, suppress_health_check=health),
    )
