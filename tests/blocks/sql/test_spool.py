"""What was sent is kept until it was read, and not for ever."""

import pytest

from blocks.process import this_process
from blocks.sql.catalog import Catalog
from blocks.sql.spool import Spool
from collectors.models import Collection
from collectors.states import RunState

HOUR = 3600 * 1_000_000


@pytest.fixture
def spool(database):
    return Spool(database)


@pytest.fixture
def run(database):
    """A run that is led, and what ends it."""
    catalog = Catalog(database)
    claim = catalog.begin(Collection(name="cases", collector="import", source={}), this_process())
    return catalog, catalog.lead(claim.run_id, this_process())


def test_parts_come_back_in_their_order_and_byte_by_byte(spool):
    content = bytes(range(256)) * 4096
    spool.add("r", "cases", 1, 2, b"second")
    spool.add("r", "cases", 0, 3, content)
    spool.add("r", "directories", 0, 1, b"d")
    spool.add("other", "cases", 0, 1, b"other")
    assert spool.sizes("r") == {"cases": [(0, 3), (1, 2)], "directories": [(0, 1)]}
    assert spool.read("r", "cases", 0) == content
    assert spool.read("r", "cases", 2) is None
    spool.drop("r")
    assert (spool.sizes("r"), spool.sizes("other")) == ({}, {"cases": [(0, 1)]})


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED])
def test_what_a_run_has_read_is_dropped_and_what_it_may_need_again_is_kept_for_a_week(
    spool, run, state, database, alter
):
    catalog, claim = run
    spool.add(claim.run_id, "cases", 0, 1, b"x")
    spool.tidy()
    assert spool.sizes(claim.run_id)
    catalog.end(claim, state)
    spool.tidy()
    assert bool(spool.sizes(claim.run_id)) is (state is RunState.FAILED)
    alter(database, "UPDATE run SET ended_at = ended_at - ?", 8 * 24 * HOUR)
    spool.tidy()
    assert not spool.sizes(claim.run_id)


def test_what_no_run_will_read_is_dropped_after_an_hour(spool, database, alter):
    spool.add("nobody", "cases", 0, 1, b"x")
    spool.tidy()
    assert spool.sizes("nobody")
    alter(database, "UPDATE spool SET created_at = created_at - ?", 2 * HOUR)
    spool.add("nobody", "cases", 1, 1, b"still sending")
    spool.tidy()
    assert spool.sizes("nobody")
    alter(database, "UPDATE spool SET created_at = created_at - ?", 2 * HOUR)
    spool.tidy()
    assert not spool.sizes("nobody")
