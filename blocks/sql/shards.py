"""Where shards stand: claims, checkpoints and releases, each write guarded by the fence."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, case, exists, func, or_, select, true, update

from blocks.sql import leases, ledger
from blocks.sql.constructs import Upsert, execute_bound, now
from blocks.sql.database import Database, repeatable
from blocks.sql.known_pages import remember, seen_as_known
from blocks.sql.refusals import set_aside
from blocks.sql.tables import OBSERVATION, batch, counter, run, shard
from collectors.errors import Fenced, Refused
from collectors.interfaces import Claim, Standing
from collectors.known_pages import KnownPage
from collectors.models import Batch, Json, Quarantined
from collectors.states import OPEN_RUNS, SHARD_MOVES, Desired, ShardState, sources_of, stronger

_OBSERVE = Upsert(counter, [(counter.c.value, counter.c.value + 1)])
_OBSERVED = select(counter.c.value).where(counter.c.name == OBSERVATION)
_OF_RUN, _OF_SHARD = run.c.run_id == bindparam("run"), shard.c.shard_id == bindparam("shard")
_OWN_WISH = select(shard.c.desired).where(shard.c.run_id == run.c.run_id, _OF_SHARD).scalar_subquery()
_LENGTHS = func.length(shard.c.shard_id), func.length(bindparam("shard"))
_BEFORE = or_(_LENGTHS[0] < _LENGTHS[1], and_(_LENGTHS[0] == _LENGTHS[1], shard.c.shard_id < bindparam("shard")))
_AHEAD = and_(shard.c.state == ShardState.RUNNING, shard.c.lease_until > now(), _BEFORE)
# In one walk over the shards of a run, of which there may be thousands.
_SHARDS = (
    select(
        func.coalesce(func.sum(shard.c.quarantined), 0).label("quarantined"),
        func.coalesce(func.sum(shard.c.estimate), 0).label("planned"),
        func.coalesce(func.sum(case((_AHEAD, 1), else_=0)), 0).label("ahead"),
    )
    .where(shard.c.run_id == bindparam("run"))
    .subquery()
)
_DESIRED = select(run.c.desired, _OWN_WISH).where(_OF_RUN)
_STANDING = (
    select(
        run.c.desired,
        _OWN_WISH,
        _SHARDS.c.quarantined,
        select(func.count()).select_from(batch).where(ledger.open_of_run()).scalar_subquery(),
        _SHARDS.c.planned,
        _SHARDS.c.ahead,
    )
    .join_from(run, _SHARDS, true())
    .where(_OF_RUN)
)
MAY_GO_ON = and_(
    func.coalesce(shard.c.desired, Desired.RUN) == Desired.RUN,
    exists().where(run.c.run_id == shard.c.run_id, run.c.desired == Desired.RUN, run.c.state.in_(OPEN_RUNS)),
)
RETRIED = "retried"  # people asked for it; Prefect may still call it cancelled


class Shards:
    def __init__(self, database: Database, lease_seconds: float = leases.LEASE_SECONDS) -> None:
        self._database = database
        self.lease_seconds = lease_seconds

    @repeatable
    def observe(self) -> int:
        # Durable with the rows that carry the number: a number that was never stored may be given again.
        with self._database.write(durable=False) as connection:
            return observed(connection)

    def claim(self, run_id: str, shard_id: str, owner: str) -> Claim:
        """Take the shard's lease.

        Raises Refused while another worker renews it, when the shard has ended, or when it is not to go on.
        """
        return self._claim(run_id, shard_id, owner, self._fence(run_id, shard_id))

    @repeatable
    def _fence(self, run_id: str, shard_id: str) -> int:
        with self._database.read() as connection:
            return connection.execute(select(shard.c.fence).where(shard_key(run_id, shard_id))).scalar_one()

    @repeatable
    def _claim(self, run_id: str, shard_id: str, owner: str, since: int) -> Claim:
        """`since`: the fence before the first try, which tells a try whose answer was lost from another's claim."""
        key = shard_key(run_id, shard_id)
        with self._database.write() as connection:
            connection.execute(
                update(shard).where(key, shard.c.state == ShardState.FAILED).values(state=ShardState.RETRYING)
            )
            # Beforehand: MySQL sees what a statement has set already.
            idle, attempts = connection.execute(
                select(func.coalesce(shard.c.idle, 0) + _since_it_rests(), shard.c.attempts + _new_attempt()).where(key)
            ).one()
            allowed = sources_of(SHARD_MOVES, ShardState.RUNNING) | {ShardState.RUNNING}
            fence = leases.take(
                connection,
                shard,
                and_(key, shard.c.state.in_(allowed), MAY_GO_ON),
                owner,
                since,
                self.lease_seconds,
                state=ShardState.RUNNING,
                attempts=attempts,
                started_at=func.coalesce(shard.c.started_at, now()),
                idle=idle,
                ended_at=None,
                error=None,
                mirrored=None,
            )
            row = connection.execute(select(shard).where(key)).mappings().one()
            round = connection.scalar(select(run.c.round).where(run.c.run_id == run_id))
        if fence is None:
            raise Refused(
                "shard {run}/{shard} is {state}, held by {owner}, and not to be read now",
                "Watch it with: collect shards {run}",
                code="COL-0405",
                run=run_id,
                shard=shard_id,
                state=row["state"],
                owner=row["owner"] or "-",
            )
        return Claim(
            run_id=run_id,
            shard_id=shard_id,
            owner=owner,
            fence=fence,
            stage=row["stage"],
            span=orjson.loads(row["span"]),
            cursor=orjson.loads(row["cursor"]),
            page=row["page"],
            failures=row["failures"] or 0,
            round=round or 0,
        )

    @repeatable
    def checkpoint(
        self,
        claim: Claim,
        page: int,
        cursor: Json,
        batches: Sequence[Batch],
        refused: Sequence[Quarantined],
        read: int,
        whole: bool = True,
        known: KnownPage | None = None,
    ) -> Standing:
        with self._database.write() as connection:
            if advanced(connection, claim, page, cursor, self.lease_seconds, read, len(refused), whole):
                ledger.confirm(connection, batches)
                set_aside(connection, claim.run_id, claim.shard_id, page, refused)
                if known and batches:
                    remember(connection, batches[0], known)
            return standing_of(connection, claim)

    @repeatable
    def repeat(self, claim: Claim, batch: Batch, page: int, known: KnownPage) -> Standing | None:
        # Should the machine forget it, the shard stands at the page before: it is passed over once more.
        with self._database.write(durable=False) as connection:
            # Rows before the shard, and that before the ledger, as a loader takes them.
            if not seen_as_known(connection, batch, known):
                return None
            if advanced(connection, claim, page, known.cursor, self.lease_seconds, read=len(known.identities)):
                ledger.pass_over(connection, batch, len(known.identities))
                remember(connection, batch, known)
            return standing_of(connection, claim)

    @repeatable
    def standing(self, claim: Claim) -> Standing:
        with self._database.read() as connection:
            return standing_of(connection, claim)

    @repeatable
    def renew(self, claim: Claim) -> Desired:
        # A lease is worth nothing to a machine that died, so it need not wait for the disk.
        with self._database.write(durable=False) as connection:
            _renew(connection, claim, self.lease_seconds)
            return desired_of(*execute_bound(connection, _DESIRED, _named(claim)).one())

    @repeatable
    def release(self, claim: Claim, state: ShardState, error: str | None = None) -> None:
        with self._database.write() as connection:
            # The same once more means that the answer was lost, and not the release.
            left = and_(shard.c.owner.is_(None), shard.c.state == state, shard.c.error.is_not_distinct_from(error))
            mine = and_(_fenced(claim), or_(shard.c.owner == claim.owner, left))
            values = {"state": state, "error": error, "ended_at": now(), "lease_until": 0, "owner": None}
            if state is ShardState.COMPLETED:
                values["reason"] = None
            if state in (ShardState.FAILED, ShardState.RETRYING):
                values["failures"] = claim.failures + 1
            if not _changed(connection, mine, **values):
                raise _taken_over(claim)


def advanced(
    connection: Connection,
    claim: Claim,
    page: int,
    cursor: Json,
    lease_seconds: float,
    read: int,
    refused: int = 0,
    whole: bool = True,
) -> bool:
    """Whether the shard went on past `page`: what comes again when its answer was lost counts once.

    Raises Fenced when the claim is outdated.
    """
    values = {
        "run": claim.run_id,
        "shard": claim.shard_id,
        "held_fence": claim.fence,
        "held_owner": claim.owner,
        "new_cursor": orjson.dumps(cursor).decode(),
        "read_page": page,
        "read": read,
        "refused": refused,
        "new_moved": None if whole else True,
    }
    new = execute_bound(connection, _advance(lease_seconds), values).rowcount > 0
    if not new:
        _renew(connection, claim, lease_seconds)
    return new


@cache
def _advance(lease_seconds: float) -> Any:
    c = shard.c
    mine = c.run_id == bindparam("run"), c.shard_id == bindparam("shard")
    held = c.fence == bindparam("held_fence"), c.owner == bindparam("held_owner")
    return (
        update(shard)
        .where(*mine, *held, c.page <= bindparam("read_page"))
        .values(
            cursor=bindparam("new_cursor"),
            page=bindparam("read_page") + 1,
            fetched=c.fetched + bindparam("read"),
            quarantined=c.quarantined + bindparam("refused"),
            lease_until=leases.until(lease_seconds),
            moved=func.coalesce(bindparam("new_moved"), c.moved),
        )
    )


def _renew(connection: Connection, claim: Claim, lease_seconds: float) -> None:
    if not _changed(connection, _held(claim), lease_until=leases.until(lease_seconds)):
        raise _taken_over(claim)


def observed(connection: Connection) -> int:
    execute_bound(connection, _OBSERVE, {"name": OBSERVATION, "value": 1})
    return execute_bound(connection, _OBSERVED, {}).scalar_one()


def shard_key(run_id: str, shard_id: str) -> Any:
    return and_(shard.c.run_id == run_id, shard.c.shard_id == shard_id)


def _fenced(claim: Claim) -> Any:
    return and_(shard_key(claim.run_id, claim.shard_id), shard.c.fence == claim.fence)


def _held(claim: Claim) -> Any:
    return and_(_fenced(claim), shard.c.owner == claim.owner)


def _changed(connection: Connection, mine: Any, **values: Any) -> bool:
    return connection.execute(update(shard).where(mine).values(values)).rowcount > 0


def _taken_over(claim: Claim) -> Fenced:
    return Fenced(
        "shard {run}/{shard} was taken over by another worker",
        "Watch it with: collect shards {run}",
        code="COL-0401",
        run=claim.run_id,
        shard=claim.shard_id,
    )


def standing_of(connection: Connection, claim: Claim) -> Standing:
    *wishes, quarantined, open_batches, planned, ahead = execute_bound(connection, _STANDING, _named(claim)).one()
    return Standing(desired_of(*wishes), int(quarantined), open_batches, int(planned), int(ahead))


def desired_of(of_run: str, of_shard: str | None) -> Desired:
    """What is wanted of a shard: what is wanted of its run, too."""
    return stronger(Desired(of_run), Desired(of_shard or Desired.RUN))


def _named(claim: Claim) -> dict[str, str]:
    return {"run": claim.run_id, "shard": claim.shard_id}


def _new_attempt() -> Any:
    """1, or 0 where reading goes on after a pause; what failed before it was paused is tried anew."""
    c = shard.c
    return case((and_(c.state == ShardState.PAUSED, c.started_at.is_not(None), c.error.is_(None)), 0), else_=1)


def _since_it_rests() -> Any:
    """Microseconds since somebody read it; a process that died did so until its lease ran out."""
    c = shard.c
    return case(
        (c.started_at.is_(None), 0),
        (c.ended_at.is_not(None), now() - c.ended_at),
        (and_(c.lease_until > 0, c.lease_until < now()), now() - c.lease_until),
        else_=0,
    )
