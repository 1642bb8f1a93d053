"""How transactions about runs wait for each other."""

from sqlalchemy import Connection

from blocks.sql.constructs import Upsert
from blocks.sql.tables import OBSERVATION, counter


def one_at_a_time(connection: Connection) -> None:
    """SQLite has one writer; elsewhere who begins, leads or plans a run waits here for others who do."""
    connection.execute(Upsert(counter, [(counter.c.value, counter.c.value)]).values(name=OBSERVATION, value=0))
