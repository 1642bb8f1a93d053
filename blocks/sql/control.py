"""What people ask of runs and shards at any moment: to pause, to go on, to be done over, to be given up.

A verb is one transaction. It writes down what is desired, which whoever works on the run or shard follows at its next
checkpoint; where nobody does, the state follows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from blocks.sql import leases
from blocks.sql.audit import audited
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending
from blocks.sql.overlapping import cancel_shards, refuse_if_paused, seconds_held, seconds_led
from blocks.sql.retrying import Scope, retry_ended, retry_meanwhile
from blocks.sql.run_rows import no_run, no_shards
from blocks.sql.shards import desired_of, shard_key
from blocks.sql.tables import run, shard
from collectors.errors import Refused
from collectors.models import ShardRetry
from collectors.states import (
    ENDED_SHARDS,
    OPEN_RUNS,
    PAUSING,
    RUN_VERBS,
    SHARD_MOVES,
    SHARD_VERBS,
    Desired,
    RunState,
    ShardState,
    Verb,
    shown,
    sources_of,
)

# Seconds in which who works has to let go; it is shut out then. A run that is being closed is left its time.
LONGEST_WAIT_OF_SHARD, LONGEST_WAIT_OF_RUN = 60, 600
# Shards of which something else is desired than how they stand.
_UNSETTLED = or_(
    shard.c.desired == Desired.CANCEL,
    and_(shard.c.desired.in_((Desired.PAUSE, Desired.STOP)), shard.c.state != ShardState.PAUSED),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A run, or one shard of it, as it stands: `state` as it is shown."""

    run_id: str
    tenant: str
    shard_id: str | None
    state: str
    desired: Desired
    reason: str | None
    led: bool  # whether a process leads the run

    @property
    def name(self) -> str:
        return f"{self.run_id}/{self.shard_id}" if self.shard_id else self.run_id


class Control:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contending
    def look(self, run_id: str, shard_id: str | None = None) -> Subject:
        """Raises Misconfigured when there is no such run, or no such shard of it."""
        with self._database.read() as connection:
            return _subject(connection, run_id, shard_id)

    @contending
    def pause(self, run_id: str, shard_id: str | None = None, reason: str | None = None, hard: bool = False) -> Subject:
        """Until somebody says `resume`. `hard`: its process leaves, and what it takes is free for others.

        This and the other verbs raise Refused in a state that forbids it, and as `look` does.
        """
        wish = Desired.STOP if hard else Desired.PAUSE
        return self._wish(Verb.PAUSE, run_id, shard_id, wish, reason)

    @contending
    def cancel(self, run_id: str, shard_id: str | None = None, reason: str | None = None) -> Subject:
        """For good; what was read stays."""
        return self._wish(Verb.CANCEL, run_id, shard_id, Desired.CANCEL, reason)

    @contending
    def resume(self, run_id: str, shard_id: str | None = None, awaited: bool = False) -> Subject:
        """`awaited`: where no process works on the run, the service is to."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            found = _settled(connection, run_id, shard_id)
            refuse(Verb.RESUME, found)
            if not found.led:
                _ask_for_it(connection, run_id, awaited)
            if found.desired is not Desired.RUN:
                _go_on(connection, run_id, shard_id)
                audited(connection, found.tenant, Verb.RESUME, found.name)
            return _subject(connection, run_id, shard_id)

    @contending
    def retry(
        self,
        run_id: str,
        scope: Scope = "failed",
        shards: Sequence[str] = (),
        policy: ShardRetry | None = None,
        awaited: bool = False,
        reason: str | None = None,
    ) -> list[str]:
        """Do over what failed, these shards, or all; answers which shards those are, which are RETRYING then.

        Failed shards go on from their checkpoints, those that were complete are read anew; for `all` the run is planned
        anew. A run that has ended is PAUSED then. `policy` takes the place of its own; `awaited`: the service is to
        carry it out, and else the caller. `reason` is shown with what is done over.

        Raises Refused also when nothing is to be done over, and while another run of the collection and mode has not
        ended.
        """
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            found = _settled(connection, run_id, None)
            refuse(Verb.RETRY, found)
            again = _done_over(connection, found, scope, shards, policy, awaited, reason)
            told = {"scope": scope, "shards": list(shards) or None, "policy": policy and policy.model_dump(mode="json")}
            told |= {"reason": reason, "again": len(again)}
            subject = f"{run_id}/{shards[0]}" if len(shards) == 1 else run_id
            audited(connection, found.tenant, Verb.RETRY, subject, **told)
            return again

    @contending
    def fail(self, run_id: str, shard_id: str, error: str) -> None:
        """A shard that nobody could begin to read."""
        values = {"state": ShardState.FAILED, "error": error, "ended_at": now(), "fence": shard.c.fence + 1}
        may = shard.c.state.in_(sources_of(SHARD_MOVES, ShardState.FAILED))
        nobody = shard.c.lease_until < now(), may
        with self._database.write() as connection:
            connection.execute(update(shard).where(shard_key(run_id, shard_id), *nobody).values(values))

    @contending
    def let_go(self, run_id: str, owner: str) -> Subject:
        """By who was to begin the run, and may not any more: it becomes what is desired of it."""
        mine = and_(run.c.run_id == run_id, run.c.owner == owner, run.c.state == RunState.CREATED)
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            connection.execute(update(run).where(mine).values(owner=None, lease_until=0))
            return _settled(connection, run_id, None)

    @contending
    def settle(self, run_id: str) -> None:
        """Have the states follow what is desired, where nobody is left to do it, or does not in time."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            _settled(connection, run_id, None)

    def settle_all(self) -> None:
        """All runs that have not ended."""
        with self._database.read() as connection:
            found = connection.scalars(select(run.c.run_id).where(run.c.state.in_(OPEN_RUNS))).all()
        for run_id in found:
            self.settle(run_id)

    def _wish(self, verb: Verb, run_id: str, shard_id: str | None, wish: Desired, reason: str | None) -> Subject:
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            found = _settled(connection, run_id, shard_id)
            refuse(verb, found)
            if wish is not Desired.PAUSE or found.desired in (Desired.RUN, Desired.LEAVE):
                _write_wish(connection, found, wish, reason)
            settled = _settled(connection, run_id, shard_id)
            audited(connection, found.tenant, verb, found.name, reason=reason, hard=wish is Desired.STOP or None)
            return settled


def _done_over(
    connection: Connection,
    of: Subject,
    scope: Scope,
    shards: Sequence[str],
    policy: ShardRetry | None,
    awaited: bool,
    reason: str | None,
) -> list[str]:
    row = _row(connection, of.run_id)
    if row["state"] not in OPEN_RUNS or (row["state"] == RunState.PAUSED and not of.led):
        return retry_ended(connection, row, scope, shards, policy, awaited, reason)
    again = retry_meanwhile(connection, row, scope, shards, policy, reason)
    if not of.led:
        _ask_for_it(connection, of.run_id, awaited)
    return again


def give_up(connection: Connection, run_id: str, reason: str) -> bool:
    """Cancel an open run; whether a process has to let go of it first. Raises Refused for one that people paused."""
    found = _settled(connection, run_id, None)
    if found.desired is not Desired.CANCEL:
        refuse_if_paused(connection, run_id)
        _write_wish(connection, found, Desired.CANCEL, reason)
        audited(connection, found.tenant, Verb.CANCEL, run_id, reason=reason)
    return _settled(connection, run_id, None).state != RunState.CANCELLED


def _go_on(connection: Connection, run_id: str, shard_id: str | None) -> None:
    again = {"desired": Desired.RUN, "reason": None, "desired_at": now()}
    if shard_id is None:
        connection.execute(update(run).where(run.c.run_id == run_id).values(again))
    else:
        connection.execute(update(shard).where(shard_key(run_id, shard_id)).values(again))


def _write_wish(connection: Connection, of: Subject, wish: Desired, reason: str | None) -> None:
    # What it was retried for is no reason to pause it.
    values: dict[str, Any] = {"desired": wish, "reason": reason or (None if of.desired is Desired.RUN else of.reason)}
    if of.desired is not wish:
        values["desired_at"] = now()
    if of.shard_id is None:
        connection.execute(update(run).where(run.c.run_id == of.run_id).values(values))
    else:
        connection.execute(update(shard).where(shard_key(of.run_id, of.shard_id)).values(values))


def refuse(verb: Verb, of: Subject) -> None:
    """Raises Refused where the state of a run or shard does not take the verb."""
    allowed = (RUN_VERBS if of.shard_id is None else SHARD_VERBS)[verb]
    if of.state in allowed:
        return
    if verb is Verb.RESUME and of.state == PAUSING:
        raise Refused(
            "{name} is still {state}: whoever works on it has not let go yet",
            "Try again in a moment, or let it wait: collect resume {name} --wait",
            code="COL-0429",
            name=of.name,
            state=of.state,
        )
    raise Refused(
        "{name} is {state}, so there is nothing to {verb}",
        "See where it stands: collect status {run}; collect shards {run}",
        code="COL-0431",
        name=of.name,
        state=of.state,
        verb=verb.value,
        run=of.run_id,
    )


# ---- where nobody works ------------------------------------------------------------------------------------


def _settled(connection: Connection, run_id: str, shard_id: str | None) -> Subject:
    """As it stands, once the states have followed what is desired, wherever nobody else makes them."""
    row = _row(connection, run_id)
    wish = Desired(row["desired"])
    if row["state"] in OPEN_RUNS and wish is not Desired.RUN and _is_left(connection, row):
        _leave_run(connection, row, wish)
    at = connection.scalar(select(now()))
    unsettled = and_(shard.c.run_id == run_id, shard.c.state.not_in(ENDED_SHARDS), _UNSETTLED)
    for each in connection.execute(select(shard).where(unsettled)).mappings().all():
        if not leases.is_held(each, at) or _late(each, at, LONGEST_WAIT_OF_SHARD):
            _leave_shard(connection, each)
    return _subject(connection, run_id, shard_id)


def _is_left(connection: Connection, row: Any) -> bool:
    follows_at_once = row["state"] == RunState.PAUSED and row["desired"] != Desired.CANCEL
    late = not follows_at_once and _late(row, connection.scalar(select(now())), LONGEST_WAIT_OF_RUN)
    return late or not seconds_held(connection, row["run_id"])


def _leave_run(connection: Connection, row: Any, wish: Desired) -> None:
    mine = and_(run.c.run_id == row["run_id"], run.c.state.in_(OPEN_RUNS))
    left = {"owner": None, "lease_until": 0, "fence": run.c.fence + 1}
    if wish is Desired.CANCEL:
        cancel_shards(connection, row["run_id"])
        ended = {"state": RunState.CANCELLED, "ended_at": now()}
        connection.execute(update(run).where(mine).values(**ended, **left))
        return
    resting = and_(shard.c.run_id == row["run_id"], shard.c.state == ShardState.RUNNING)
    connection.execute(update(shard).where(resting).values(_paused()))
    if row["state"] != RunState.PAUSED:
        rested = {"state": RunState.PAUSED, "rested_at": func.coalesce(run.c.rested_at, now())}
        connection.execute(update(run).where(mine).values(**rested, **left))


def _leave_shard(connection: Connection, each: Any) -> None:
    if each["desired"] == Desired.CANCEL:
        cancel_shards(connection, each["run_id"], shard.c.shard_id == each["shard_id"])
    else:
        may = shard.c.state.in_(sources_of(SHARD_MOVES, ShardState.PAUSED))
        connection.execute(update(shard).where(shard_key(each["run_id"], each["shard_id"]), may).values(_paused()))


def _paused() -> dict[str, Any]:
    left = {"owner": None, "lease_until": 0, "fence": shard.c.fence + 1}
    return left | {"state": ShardState.PAUSED, "ended_at": func.coalesce(shard.c.ended_at, now())}


def _late(row: Any, at: int, seconds: int) -> bool:
    """Whether who works on it had all the time to let go: its writes match no row from now on."""
    return row["desired_at"] is not None and at - row["desired_at"] > seconds * 1_000_000


def _ask_for_it(connection: Connection, run_id: str, awaited: bool) -> None:
    """One that was only left may be gone on with; one that was paused as a whole waits for whoever resumes it."""
    mine = run.c.run_id == run_id
    if awaited:
        connection.execute(update(run).where(mine).values(awaited=True))
    connection.execute(update(run).where(mine, run.c.desired == Desired.LEAVE).values(desired=Desired.RUN))


# ---- as it stands ------------------------------------------------------------------------------------------


def _subject(connection: Connection, run_id: str, shard_id: str | None) -> Subject:
    row = _row(connection, run_id)
    wish, state = Desired(row["desired"]), RunState(row["state"])
    led = seconds_led(connection, run_id) > 0
    awaited = led or bool(row["awaited"])
    if shard_id is None:
        worked_on = led or seconds_held(connection, run_id) > 0
        return Subject(run_id, row["tenant"], None, shown(state, wish, worked_on, awaited), wish, row["reason"], led)
    found = connection.execute(select(shard).where(shard_key(run_id, shard_id))).mappings().first()
    if found is None:
        raise no_shards(run_id, [shard_id])
    both = desired_of(wish, found["desired"]) if state in OPEN_RUNS else Desired.RUN
    held = leases.is_held(found, connection.scalar(select(now())))
    seen = shown(ShardState(found["state"]), both, held, awaited and state in OPEN_RUNS)
    own = Desired(found["desired"] or Desired.RUN)
    return Subject(run_id, row["tenant"], shard_id, seen, own, found["reason"] or row["reason"], led)


def _row(connection: Connection, run_id: str) -> Any:
    found = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().first()
    if found is None:
        raise no_run(run_id)
    return found
