"""As people see a run and its shards: their states, and what those wait for that nobody works on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from blocks.sql.leases import is_held
from blocks.sql.shards import desired_of
from collectors.language import spoken
from collectors.states import ENDED_SHARDS, OPEN_RUNS, PAUSING, TO_REST, Desired, RunState, ShardState, shown


@dataclass(frozen=True, slots=True)
class Seen:
    state: str
    waiting_for: str | None


@dataclass(frozen=True)
class Scene:
    """A run at a moment: its row, the time by the clock of the database, and the stage that is read."""

    run: Mapping[str, Any]
    now: int
    stage: str | None

    @cached_property
    def led(self) -> bool:
        return is_held(self.run, self.now)

    def of_run(self, worked_on: bool) -> Seen:
        """`worked_on`: whether it or one of its shards is held by a process."""
        row, wish = self.run, Desired(self.run["desired"])
        state = shown(RunState(row["state"]), wish, worked_on, self.led or bool(row["awaited"]))
        if state == RunState.PAUSED and wish in TO_REST:
            return Seen(state, spoken("whoever resumes it: collect resume {run}", run=row["run_id"]))
        if not self._is_open or worked_on:
            return Seen(state, None)
        if row["awaited"] and wish is Desired.RUN:
            return Seen(state, spoken("the service, which carries it out: collect serve"))
        return Seen(state, spoken("a process that works on it: collect resume {run}", run=row["run_id"]))

    def of_shard(self, row: Mapping[str, Any]) -> Seen:
        state, held = self.state_of(row), is_held(row, self.now)
        if row["state"] in ENDED_SHARDS or not self._is_open or (held and state != PAUSING):
            return Seen(state, None)
        return Seen(state, self._what(row, held))

    def state_of(self, row: Mapping[str, Any]) -> str:
        """Of a shard, or of many that stand alike."""
        own = row["desired"]
        wish = desired_of(self.run["desired"], own) if own and self._is_open else self._wish
        return shown(ShardState(row["state"]), wish, is_held(row, self.now), self.led and self._is_open)

    def _what(self, row: Mapping[str, Any], held: bool) -> str:
        name = f"{row['run_id']}/{row['shard_id']}"
        if held:
            return spoken("its page that is being read")
        if (row["desired"] or Desired.RUN) != Desired.RUN:
            return spoken("whoever resumes it: collect resume {run}", run=name)
        if self._wish in TO_REST:
            return spoken("its run, which is paused: collect resume {run}", run=row["run_id"])
        if self._wish is not Desired.RUN or not self.led:
            return spoken("its run, on which nobody works now")
        if row["state"] == ShardState.RUNNING:
            return spoken("the end of a lease: its process may be gone")
        if row["stage"] != self.stage:
            return spoken("the stage {stage}", stage=self.stage or "-")
        if row["flow_run_id"]:
            return spoken("a worker of its work pool")
        return spoken("its next try") if row["state"] == ShardState.RETRYING else spoken("a free place beside others")

    @cached_property
    def _is_open(self) -> bool:
        return self.run["state"] in OPEN_RUNS

    @cached_property
    def _wish(self) -> Desired:
        return Desired(self.run["desired"]) if self._is_open else Desired.RUN
