"""Pages that say what they said before: passed over only where nothing can be missed by it."""

from collections import Counter

import pytest
from sqlalchemy import update

from blocks.sql.tables import RECORDS
from collectors.conditional import NotModified, condition_headers, note_etag
from collectors.errors import Fenced
from collectors.known_pages import known_page
from collectors.models import Batch, Page, Record
from collectors.reading import Reader
from collectors.states import ShardState


class Source:
    """Pages of cases, each {id: name}; `etag` makes it answer to conditions."""

    def __init__(self, *pages, etag=False):
        self.pages, self.etag, self.mapped, self.answered = [dict(page) for page in pages], etag, 0, Counter()
        self.afterwards = {}  # what changes as soon as it has answered that nothing has

    async def fetch(self, stage, span, cursor):
        number = cursor or 0
        page, sent = self.pages[number], condition_headers().get("If-None-Match")
        etag = f'"{sorted(page.items())}"' if self.etag else None
        note_etag(etag)
        self.answered[304 if sent and sent == etag else 200] += 1
        if sent and sent == etag:
            page.update(self.afterwards)
            raise NotModified("as it was", code="COL-0325")
        return Page(
            [{"id": id, "name": name} for id, name in page.items()], number + 1 if self.pages[number + 1 :] else None
        )

    def map(self, stage, item):
        self.mapped += 1
        return Record(kind="case", id=item["id"], name=item["name"])


@pytest.fixture
def collected(begin, storage):
    """Reads a source as a full run does; answers the run and how many items were mapped."""

    async def read(source, name="c"):
        run = begin(name)
        before = source.mapped
        reader = Reader(run.definition, source, storage.shards, storage.queue, 60.0, pages=storage.pages)
        assert await reader.read(run.claim()) is ShardState.COMPLETED
        storage.catalog.end(run.run, "COMPLETED")
        return run, source.mapped - before

    return read


def rows(storage):
    return {row["id"]: row for chunk in storage.rows.live("default", "c", "case") for row in chunk}


@pytest.mark.parametrize("etag", [False, True])
async def test_what_is_as_it_was_is_not_read_again_and_counts_as_seen(collected, storage, etag):
    source = Source({"1": "a", "2": "b"}, {"3": "c"}, etag=etag)
    await collected(source)
    before = rows(storage)
    run, mapped = await collected(source)
    after = rows(storage)
    assert mapped == 0
    assert source.answered == ({200: 2, 304: 2} if etag else {200: 4})
    assert run.applied() == {"new": 0, "changed": 0, "unchanged": 3, "deleted": 0, "superseded": 0}
    assert run.shard()["fetched"] == 3
    for id, row in after.items():
        assert row["seen"] > before[id]["seen"]
        assert row["version"] > before[id]["version"]
        assert row["content_hash"] == before[id]["content_hash"]


@pytest.mark.parametrize("etag", [False, True])
async def test_a_page_that_changed_is_read_and_its_neighbours_are_not(collected, storage, etag):
    source = Source({"1": "a", "2": "b"}, {"3": "c"}, etag=etag)
    await collected(source)
    source.pages[0]["1"] = "new"
    run, mapped = await collected(source)
    assert mapped == 2
    assert (run.applied()["changed"], run.applied()["unchanged"]) == (1, 2)
    assert (await collected(source))[1] == 0


@pytest.mark.parametrize("etag", [False, True])
async def test_a_row_that_is_not_what_the_page_made_of_it_is_read_again(collected, storage, etag):
    """It was changed meanwhile by another run, and the source took it back."""
    source = Source({"1": "a"}, etag=etag)
    await collected(source)
    taken_back = Record(kind="case", id="1", name="meanwhile")
    storage.queue._loader.apply(Batch("default", "c", "other", "s01", "0.0", storage.shards.observe(), (taken_back,)))
    run, mapped = await collected(source)
    assert (mapped, run.applied()["changed"], rows(storage)["1"]["name"]) == (1, 1, "a")


async def test_what_changed_between_two_answers_is_known_by_the_etag_of_the_second(collected, storage):
    source = Source({"1": "a"}, etag=True)
    await collected(source)
    storage.rows.make_due("default", "c", "case", ["1"])
    source.afterwards = {"1": "b"}
    await collected(source)
    assert rows(storage)["1"]["name"] == "b"
    source.pages[0]["1"] = "a"
    await collected(source)
    assert rows(storage)["1"]["name"] == "a"


async def test_what_comes_late_does_not_win_over_what_was_passed_over(collected, storage):
    source = Source({"1": "a"})
    await collected(source)
    late = Batch(
        "default", "c", "other", "s01", "0.0", storage.shards.observe(), (Record(kind="case", id="1", name="x"),)
    )
    assert (await collected(source))[1] == 0
    storage.queue._loader.apply(late)
    assert rows(storage)["1"]["name"] == "a"


async def test_a_row_whose_document_may_be_missing_is_read_again(collected, storage, database):
    source = Source({"1": "a"})
    await collected(source)
    with database.write() as connection:
        connection.execute(update(RECORDS["case"]).values(last_batch=""))
    assert (await collected(source))[1] == 1


async def test_a_page_with_a_deleted_row_or_a_refused_item_is_read_each_time(collected, storage, database):
    source = Source({"1": "a"}, {"2": ""})
    await collected(source)
    with database.write() as connection:
        connection.execute(update(RECORDS["case"]).values(deleted=True))
    run, mapped = await collected(source)
    assert mapped == 2
    assert run.shard()["quarantined"] == 1


async def test_a_stale_worker_passes_over_nothing(begin, collected, storage):
    source = Source({"1": "a"})
    await collected(source)
    run = begin("c")
    stale = run.claim()
    with storage.catalog._database.write() as connection:
        connection.exec_driver_sql("UPDATE shard SET lease_until = 0, fence = fence + 1")
    reader = Reader(run.definition, source, storage.shards, storage.queue, 60.0, pages=storage.pages)
    before = rows(storage)
    with pytest.raises(Fenced):
        await reader.read(stale)
    assert rows(storage) == before


def test_what_cannot_be_recognized_is_not_remembered():
    record = Record(kind="case", id="1", name="n")
    twice = Page([{}, {}], None)
    assert known_page("p", twice, [record, record], 0, None) is None
    assert known_page("p", Page([{"n": 2**70}], None), [record], 0, None) is None
    assert known_page("p", Page([{}], None, whole=False), [record], 0, None) is None
