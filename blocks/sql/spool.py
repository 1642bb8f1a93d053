"""What was sent to be imported, in numbered parts, until a run has read it: any worker finds it, whoever took it in."""

from sqlalchemy import Connection, and_, delete, func, insert, literal, or_, select

from blocks.sql import leases
from blocks.sql.constructs import now
from blocks.sql.database import Database, contending, repeatable
from blocks.sql.tables import run, spool
from collectors.states import RunState

# A part without a run is one whose sender has gone, or is sending still.
AN_HOUR = 3600 * 1_000_000
A_WEEK = 7 * 24 * AN_HOUR
READ = (RunState.COMPLETED, RunState.CANCELLED)
ALL = "all"  # stands for the end: its size is that of all parts


def is_whole(connection: Connection, run_id: str) -> bool:
    mine = spool.c.run_id == run_id
    sent = connection.scalar(select(spool.c.size).where(mine, spool.c.stage == ALL))
    kept = connection.scalar(select(func.coalesce(func.sum(spool.c.size), 0)).where(mine, spool.c.stage != ALL))
    return sent is not None and sent == int(kept)


class Spool:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contending
    def add(self, run_id: str, stage: str, part: int, size: int, content: bytes) -> None:
        """`size`: lines in it."""
        values = {"run_id": run_id, "stage": stage, "part": part, "size": size, "content": content}
        with self._database.write() as connection:
            connection.execute(insert(spool).values(**values, created_at=now()))

    @repeatable
    def whole(self, run_id: str) -> bool:
        """Whether as much is kept as was sent."""
        with self._database.read() as connection:
            return is_whole(connection, run_id)

    @repeatable
    def sizes(self, run_id: str) -> dict[str, list[tuple[int, int]]]:
        """The (part, lines) of each stage, in order."""
        query = select(spool.c.stage, spool.c.part, spool.c.size).where(spool.c.run_id == run_id, spool.c.stage != ALL)
        found: dict[str, list[tuple[int, int]]] = {}
        with self._database.read() as connection:
            for stage, part, size in connection.execute(query.order_by(spool.c.stage, spool.c.part)):
                found.setdefault(stage, []).append((part, size))
        return found

    @repeatable
    def read(self, run_id: str, stage: str, part: int) -> bytes | None:
        at = and_(spool.c.run_id == run_id, spool.c.stage == stage, spool.c.part == part)
        with self._database.read() as connection:
            return connection.scalar(select(spool.c.content).where(at))

    @repeatable
    def drop_unclaimed(self, run_id: str) -> None:
        """Unless there is a run of that id: then somebody waits for it, whatever was heard of its being accepted."""
        with self._database.write() as connection:
            leases.one_at_a_time(connection)
            if not connection.scalar(select(func.count()).where(run.c.run_id == run_id)):
                connection.execute(delete(spool).where(spool.c.run_id == run_id))

    @repeatable
    def drop(self, run_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(spool).where(spool.c.run_id == run_id))

    def tidy(self) -> None:
        """Drop what nobody will read any more."""
        for run_id in self._not_needed():
            self.drop(run_id)

    @repeatable
    def _not_needed(self) -> list[str]:
        with_run = spool.outerjoin(run, run.c.run_id == spool.c.run_id)
        ended = or_(run.c.state.in_(READ), run.c.ended_at < now() - literal(A_WEEK))
        read = select(spool.c.run_id).select_from(with_run).where(ended).distinct()
        senders_gone = func.max(spool.c.created_at) < now() - literal(AN_HOUR)
        nobodys = select(spool.c.run_id).select_from(with_run).where(run.c.run_id.is_(None)).group_by(spool.c.run_id)
        with self._database.read() as connection:
            return [*connection.scalars(read), *connection.scalars(nobodys.having(senders_gone))]
