"""Sweeps on real rows and documents: nothing is deleted on the word of an incomplete one, and nothing comes back."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from blocks.caches.none import NoCache
from blocks.documents.sqlite import SqliteDocuments
from blocks.sql.catalog import Catalog
from blocks.sql.rows import Rows
from blocks.sql.shards import Shards
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.sweeps import Sweeps
from blocks.sql.tables import SCHEMA, documents
from collectors.errors import Refused
from collectors.loading import Loader
from collectors.models import Collection, Quarantined, ShardPlan, parts_of
from collectors.scheduling import Triggers
from collectors.states import RunState
from collectors.sweeping import Sweep, finish_tombstones, swept

KEY = ("default", "cases")


class Silent:
    """A collector that cannot be asked whether a record is there."""


class Kept:
    """Rows and documents, and sweeps over them."""

    def __init__(self, database, details, new_batch):
        self.database, self.documents, self.new_batch = database, details, new_batch
        self.rows, self.graves = Rows(database), Sweeps(database)
        self.loader = Loader(self.rows, details, NoCache())

    def seen(self, observation, *records, **more):
        self.loader.apply(self.new_batch(*records, observation=observation, page=f"{observation}.0", **more))

    async def sweep(self, number, run_id="r1", guard=1.0, epoch=0, collector=None):
        sweep = Sweep(*KEY, run_id, number, epoch)
        finish_tombstones(sweep, self.graves, self.documents, NoCache())
        return await swept(sweep, self.graves, self.documents, NoCache(), collector or Silent(), guard)

    def row(self, id, kind="case"):
        return self.rows.of_id(*KEY, kind, id)

    def live(self):
        """By rows and by documents, which have to agree."""
        found = {row["id"] for chunk in self.rows.live(*KEY, "case") for row in chunk}
        details = self.documents.read(*KEY, "case", ["1", "2", "3"])
        assert {id for id, each in details.items() if not each.deleted} == found
        return found


@pytest.fixture
def kept(database, tmp_path, new_batch):
    details = SqliteDatabase(tmp_path / "documents.db", documents, SCHEMA)
    yield Kept(database, SqliteDocuments(details), new_batch)
    details.close()


async def test_what_two_complete_sweeps_did_not_see_is_gone(kept, new_case):
    kept.seen(1, new_case("1"), new_case("2"))
    kept.seen(11, new_case("2"))
    assert await kept.sweep(10) == (0, 1, 0)
    assert kept.live() == {"1", "2"}
    kept.seen(21, new_case("2"))
    assert await kept.sweep(20, "r2") == (1, 0, 0)
    assert kept.live() == {"2"}
    assert kept.row("1")["last_batch"] == "r2/sweep/0.0/20"
    assert parts_of(kept.row("1")["version"]) == (0, 0, 20)


async def test_a_sweep_that_is_closed_again_says_the_same(kept, new_case):
    kept.seen(1, new_case("1"))
    await kept.sweep(10)
    for _ in range(2):
        assert await kept.sweep(20, "r2") == (1, 0, 0)


async def test_one_sweep_closed_twice_is_no_second_one(kept, new_case):
    kept.seen(1, new_case("1"))
    for _ in range(3):
        assert await kept.sweep(10) == (0, 1, 0)
    assert kept.live() == {"1"}


async def test_what_was_seen_in_between_has_to_be_missed_twice_again(kept, new_case):
    kept.seen(1, new_case("1"))
    await kept.sweep(10)
    kept.seen(15, new_case("1"))
    assert await kept.sweep(20, "r2") == (0, 1, 0)
    assert kept.live() == {"1"}


@pytest.mark.parametrize("apart", [False, True])
async def test_two_sweeps_that_went_on_side_by_side_have_missed_it_once(kept, new_case, apart):
    catalog = Catalog(kept.database)
    triggers = Triggers(overlap="allow")
    definition = Collection(name="cases", collector="testrail", source={"base_url": "http://x"}, triggers=triggers)

    def begun():
        claim = catalog.begin(definition, "somebody")
        catalog.save_plan(claim, [], 1.0)
        return claim

    async def swept_by(claim):
        await kept.sweep(catalog.run(claim.run_id)["sweep"], claim.run_id)
        catalog.end(catalog.lead(claim.run_id, "somebody"), RunState.COMPLETED)

    kept.seen(0, new_case("1"))
    first = begun()
    if apart:
        await swept_by(first)
    second = begun()
    if not apart:
        await swept_by(first)
    await swept_by(second)
    assert kept.live() == (set() if apart else {"1"})


async def test_what_the_source_once_said_is_there_has_to_be_missed_twice_again(kept, new_case):
    class Told:
        async def exist(self, kind, ids):
            return dict.fromkeys(ids, True)

    kept.seen(1, new_case("1"))
    await kept.sweep(10)
    assert await kept.sweep(20, "r2", collector=Told()) == (0, 0, 1)
    assert await kept.sweep(30, "r3") == (0, 1, 0)
    assert kept.live() == {"1"}


async def buried(kept, new_case, **fields):
    kept.seen(1, new_case("1", **fields))
    await kept.sweep(10)
    await kept.sweep(20, "r2")
    assert kept.live() == set()


@pytest.mark.parametrize("source_version", [5, 9])
async def test_a_late_message_brings_nothing_back_whatever_its_version(kept, new_case, source_version):
    await buried(kept, new_case, source_version=5)
    kept.seen(19, new_case("1", source_version=source_version, name="late"))
    assert kept.live() == set()


async def test_what_is_seen_again_is_restored_with_its_document(kept, new_case):
    await buried(kept, new_case, source_version=5)
    kept.seen(21, new_case("1", source_version=5))
    assert kept.live() == {"1"}
    assert (kept.row("1")["tombstone"], kept.row("1")["missing"]) == (None, None)


async def test_a_sweep_that_is_late_itself_does_not_delete_again(kept, new_case):
    kept.seen(1, new_case("1"))
    await kept.sweep(10)
    kept.seen(25, new_case("1"))
    assert await kept.sweep(20, "r2") == (0, 0, 0)
    assert kept.live() == {"1"}


async def test_a_tombstone_whose_document_was_not_marked_is_completed_by_the_next_sweep(kept, new_case):
    await buried(kept, new_case)
    (detail,) = kept.documents.read(*KEY, "case", ["1"]).values()
    with kept.database.write() as connection:
        connection.execute(text("UPDATE test_case SET last_batch = ''"))
    kept.documents.discard(*KEY, "case", ["1"])
    kept.documents.write([replace(detail, deleted=False, version="0")])
    await kept.sweep(30, "r3")
    assert kept.live() == set()


async def test_refused_records_are_not_missing(kept, new_case):
    kept.seen(1, new_case("1"), new_case("2"))
    for number, run in ((10, "r8"), (20, "r9")):
        refused = [Quarantined(0, "missing-name", "has no name", "1", b"{}")]
        kept.rows.apply(kept.new_batch(run_id=run, observation=number + 1, page=f"{number}.0"), refused)
        await kept.sweep(number, run)
    assert kept.live() == {"1"}


async def test_a_refused_record_without_an_id_may_be_any_of_the_missing(kept, new_case):
    kept.seen(1, new_case("1"))
    refused = [Quarantined(0, "missing-id", "has no id", None, b"{}")]
    kept.rows.apply(kept.new_batch(run_id="r9", observation=11, page="11.0"), refused)
    with pytest.raises(Refused) as error:
        await kept.sweep(10, "r9")
    assert error.value.code == "COL-0415"


async def test_more_that_is_missing_than_the_guard_allows_deletes_nothing(kept, new_case):
    kept.seen(1, *(new_case(str(number)) for number in range(1, 4)))
    kept.seen(11, new_case("3"))
    with pytest.raises(Refused, match="2 of 3 known records were not seen") as error:
        await kept.sweep(10, guard=0.5)
    assert error.value.code == "COL-0417"
    assert kept.row("1")["missing"] is None
    assert await kept.sweep(10, guard=0.67) == (0, 2, 0)


async def test_what_another_run_has_read_and_nobody_loaded_forbids_it(kept, new_case, database):
    catalog, shards = Catalog(database), Shards(database)
    definition = Collection(name="cases", collector="testrail", source={"base_url": "http://x"})
    other = catalog.begin(definition.model_copy(update={"mode": "incremental"}), "somebody")
    plan = ShardPlan(shard_id="s01", stage="cases", label="cases", span={}, estimate=1)
    catalog.save_plan(catalog.lead(other.run_id, "somebody"), [plan], 1.0)
    claim = shards.claim(other.run_id, "s01", "somebody")
    batch = kept.new_batch(new_case("1"), run_id=other.run_id, observation=5, page="0.0")
    shards.checkpoint(claim, 0, None, [batch], [], 1)
    with pytest.raises(Refused) as error:
        await kept.sweep(10, "r9")
    assert error.value.code == "COL-0416"
    kept.loader.apply(batch)
    assert await kept.sweep(10, "r9") == (0, 1, 0)


async def test_in_a_new_epoch_what_is_read_wins_over_newer_versions(kept, new_case):
    kept.seen(1, new_case("1", source_version=9))
    kept.seen(2, new_case("1", source_version=5, name="restored"))
    assert kept.row("1")["name"] != "restored"
    kept.seen(3, new_case("1", source_version=5, name="restored"), epoch=1)
    assert kept.row("1")["name"] == "restored"
    assert parts_of(kept.row("1")["version"]) == (1, 5, 3)
