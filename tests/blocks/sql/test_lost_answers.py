"""A connection that breaks at COMMIT: nobody knows whether it was done. What is made again counts once."""

import threading
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from blocks.process import this_process
from blocks.sql.catalog import Catalog
from blocks.sql.mysql import MysqlDatabase
from blocks.sql.registry import Registry
from blocks.sql.rows import Rows
from blocks.sql.run_ledger import RunLedger
from blocks.sql.shards import Shards
from blocks.sql.tables import catalog as tables
from collectors.errors import Fenced, Unreachable
from collectors.known_pages import known_page
from collectors.models import Page, Quarantined, ShardPlan
from collectors.paths import Move, Place
from collectors.states import Desired, RunState, ShardState
from tests.proxy import Link, Proxy

ME = this_process()
REFUSED = [Quarantined(2, "missing-name", "has no name", "7", b"{}")]
ENDS = pytest.mark.parametrize("end", [Link.cut, Link.lose_answer], ids=["before it was done", "after it was done"])


@pytest.fixture
def proxy(mysql):
    parts = urlsplit(mysql.url)
    with Proxy(parts.hostname, parts.port) as between:
        yield between


@pytest.fixture
def beyond(mysql, proxy):
    """The same database, reached through the proxy."""
    parts = urlsplit(mysql.url)
    host = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    database = MysqlDatabase(parts._replace(netloc=host).geturl(), answer=2)
    for connected in (database.read, database.write):  # making a connection takes a COMMIT of its own
        with connected() as connection:
            connection.execute(text("SELECT 1"))
    yield database
    database.close()


@pytest.fixture
def run(mysql, definition):
    """A running run of one collection, not planned yet."""
    catalog = Catalog(mysql)
    return catalog.lead(catalog.begin(definition(), ME, definition(mode="full")).run_id, ME)


@pytest.fixture
def claim(mysql, run):
    Catalog(mysql).save_plan(run, [plan()], 1.0)
    return Shards(mysql).claim(run.run_id, "s01", ME)


def plan():
    return ShardPlan(shard_id="s01", stage="cases", label="all", span={}, estimate=1)


def stored(database, table):
    with database.read() as connection:
        return [dict(row) for row in connection.execute(tables.tables[table].select()).mappings()]


def once(database, table):
    (row,) = stored(database, table)
    return row


def waiting(database):
    """Whether a transaction waits for another one."""
    with database.read() as connection:
        _, count = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")).one()
        return int(count) > 0


# ---- once --------------------------------------------------------------------------------------------------


@ENDS
def test_a_checkpoint(mysql, beyond, proxy, claim, new_batch, new_case, end):
    batch = new_batch(new_case("1"), run_id=claim.run_id)
    proxy.when(b"COMMIT", end)
    standing = Shards(beyond).checkpoint(claim, 0, 50, [batch], REFUSED, read=3)
    assert not proxy.awaits
    shard = once(mysql, "shard")
    assert (shard["fetched"], shard["quarantined"], shard["page"], shard["cursor"]) == (3, 1, 1, "50")
    assert (standing.quarantined, once(mysql, "batch")["confirmed"]) == (1, True)
    assert once(mysql, "quarantine")["record_id"] == "7"


@ENDS
def test_a_page_that_is_passed_over(mysql, beyond, proxy, claim, new_batch, new_case, end):
    record = new_case("1")
    batch = new_batch(record, run_id=claim.run_id)
    Rows(mysql).apply(batch)
    Rows(mysql).finish(batch)
    known = known_page("place", Page(["1"], 50), [record], 0, None)
    proxy.when(b"COMMIT", end)
    again = new_batch(run_id=claim.run_id, page="1.0", observation=9)
    assert Shards(beyond).repeat(claim, again, 0, known)
    assert not proxy.awaits
    shard = once(mysql, "shard")
    assert (shard["fetched"], shard["page"], shard["cursor"]) == (1, 1, "50")
    assert once(mysql, "test_case")["seen"] == 9


def test_a_checkpoint_whose_commit_arrives_late(mysql, beyond, proxy, claim, until):
    """The first try is given up before the server has its COMMIT, and the second waits for it."""
    arrives = threading.Event()
    proxy.when(b"COMMIT", lambda link: arrives.wait(30))
    writing = threading.Thread(target=Shards(beyond).checkpoint, args=(claim, 0, 50, [], REFUSED, 3))
    writing.start()
    until(lambda: waiting(mysql))
    arrives.set()
    writing.join()
    shard = once(mysql, "shard")
    assert (shard["fetched"], shard["quarantined"], shard["page"]) == (3, 1, 1)
    assert len(stored(mysql, "quarantine")) == 1


@ENDS
def test_a_claim(mysql, beyond, proxy, run, end):
    Catalog(mysql).save_plan(run, [plan()], 1.0)
    proxy.when(b"COMMIT", end)
    claim = Shards(beyond).claim(run.run_id, "s01", ME)
    assert not proxy.awaits
    shard = once(mysql, "shard")
    assert (claim.fence, shard["fence"], shard["attempts"], shard["state"]) == (1, 1, 1, "RUNNING")
    assert Shards(mysql).renew(claim) is Desired.RUN


@ENDS
@pytest.mark.parametrize("state", [ShardState.COMPLETED, ShardState.FAILED, ShardState.PAUSED])
def test_a_release(mysql, beyond, proxy, claim, state, end):
    proxy.when(b"COMMIT", end)
    Shards(beyond).release(claim, state, "why")
    assert not proxy.awaits
    assert (once(mysql, "shard")["state"], once(mysql, "shard")["owner"]) == (state, None)
    assert once(mysql, "shard")["failures"] in (None, 1)


@ENDS
def test_a_renewal(mysql, beyond, proxy, claim, end):
    before = once(mysql, "shard")["lease_until"]
    proxy.when(b"COMMIT", end)
    assert Shards(beyond).renew(claim) is Desired.RUN
    assert not proxy.awaits
    assert once(mysql, "shard")["lease_until"] > before


@ENDS
def test_an_observation(mysql, beyond, proxy, end):
    first = Shards(mysql).observe()
    proxy.when(b"COMMIT", end)
    assert first < Shards(beyond).observe() < Shards(mysql).observe()
    assert not proxy.awaits


@ENDS
def test_a_plan(mysql, beyond, proxy, run, end):
    proxy.when(b"COMMIT", end)
    Catalog(beyond).save_plan(run, [plan()], 1.0)
    assert not proxy.awaits
    assert (once(mysql, "shard")["state"], once(mysql, "run")["planned"]) == ("PENDING", True)
    assert once(mysql, "collection")["version"] == 1


@ENDS
def test_a_definition(mysql, beyond, proxy, definition, end):
    proxy.when(b"COMMIT", end)
    Registry(beyond).remember(definition())
    assert not proxy.awaits
    assert once(mysql, "collection")["version"] == 1


@ENDS
@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.PAUSED, RunState.FAILED])
def test_the_end_of_a_run(mysql, beyond, proxy, run, state, end):
    proxy.when(b"COMMIT", end)
    Catalog(beyond).end(run, state, "why")
    assert not proxy.awaits
    assert (once(mysql, "run")["state"], once(mysql, "run")["error"]) == (state, "why")


@ENDS
def test_what_is_desired(mysql, beyond, proxy, run, end):
    proxy.when(b"COMMIT", end)
    Catalog(beyond).desire(run.run_id, Desired.PAUSE, "interrupted")
    assert not proxy.awaits
    assert Catalog(mysql).renew(run) is Desired.PAUSE


@ENDS
def test_what_takes_the_place_of_a_lost_batch(mysql, beyond, proxy, run, claim, new_batch, new_case, end):
    lost, found = (new_batch(new_case("1"), run_id=run.run_id, observation=seen) for seen in (1, 2))
    Shards(mysql).checkpoint(claim, 0, None, [lost], [], read=1)
    proxy.when(b"COMMIT", end)
    RunLedger(beyond).replace(run, [lost], [found], [])
    assert not proxy.awaits
    assert {row["observation"]: (row["stage"], row["confirmed"]) for row in stored(mysql, "batch")} == {
        1: ("refetched", False), 2: ("published", True),
    }  # fmt: skip


@ENDS
def test_a_path_that_is_put_right(mysql, beyond, proxy, new_batch, new_case, end):
    Rows(mysql).apply(batch := new_batch(new_case("1")))
    Rows(mysql).finish(batch)
    proxy.when(b"COMMIT", end)
    Rows(beyond).replace("default", "cases", "case", [Move("1", "/c1", Place("/moved", 0), "")])
    assert not proxy.awaits
    assert once(mysql, "test_case")["path"] == "/moved"


# ---- what is not made again --------------------------------------------------------------------------------


@ENDS
def test_a_batch_is_left_to_its_loader_and_counts_once(mysql, beyond, proxy, claim, new_batch, new_case, end):
    batch = new_batch(new_case("1"), new_case("2"), run_id=claim.run_id)
    proxy.when(b"COMMIT", end)
    with pytest.raises(Unreachable):
        Rows(beyond).apply(batch, REFUSED)
    assert not proxy.awaits
    assert len(Rows(beyond).apply(batch, REFUSED)) == 2
    assert (once(mysql, "batch")["new"], once(mysql, "batch")["stage"]) == (2, "rows")
    assert (once(mysql, "shard")["quarantined"], len(stored(mysql, "quarantine"))) == (1, 1)


@ENDS
def test_a_batch_is_finished_once_more(mysql, beyond, proxy, new_batch, new_case, end):
    batch = new_batch(new_case("1"))
    Rows(mysql).apply(batch)
    proxy.when(b"COMMIT", end)
    with pytest.raises(Unreachable):
        Rows(beyond).finish(batch)
    Rows(beyond).finish(batch)
    assert once(mysql, "batch")["stage"] == "done"


# ---- who was away too long ---------------------------------------------------------------------------------


def test_whoever_was_followed_meanwhile_is_shut_out(mysql, beyond, proxy, claim):
    """The lease went to another worker between the try that was cut off and the next one."""

    def followed(link: Link) -> None:
        link.cut()
        with mysql.write() as connection:
            connection.execute(text("UPDATE shard SET owner = 'far:1:1', fence = fence + 1"))

    proxy.when(b"UPDATE shard", followed)
    with pytest.raises(Fenced):
        Shards(beyond).checkpoint(claim, 0, 50, [], REFUSED, read=3)
    assert (once(mysql, "shard")["page"], stored(mysql, "quarantine")) == (0, [])


def test_a_connection_that_breaks_within_a_transaction_leaves_nothing_of_it(mysql, beyond, proxy, new_batch, new_case):
    proxy.when(b"INSERT INTO batch", Link.cut)
    with pytest.raises(Unreachable):
        Rows(beyond).apply(new_batch(new_case("1")))
    assert not proxy.awaits
    assert (stored(mysql, "test_case"), stored(mysql, "batch")) == ([], [])
    assert len(Rows(beyond).apply(new_batch(new_case("1")))) == 1


def test_a_network_that_swallows_everything_is_given_up_and_gone_around(mysql, beyond, proxy):
    first = Shards(mysql).observe()
    proxy.when(b"INSERT INTO counter", Link.hush)
    assert Shards(beyond).observe() == first + 1
    assert not proxy.awaits


def test_a_slow_network_is_no_trouble(beyond, proxy, new_batch, new_case):
    proxy.latency = 0.05
    assert len(Rows(beyond).apply(new_batch(new_case("1")))) == 1
