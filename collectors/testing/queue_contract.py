"""What every queue has to keep, as tests to inherit. Nothing is imported from a test runner."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from collectors.interfaces import Documents, Queue
from collectors.models import Batch, Document, Record, version

ODD_IDS = ("A1", "a1", "n1", "n1 ", " n1", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}", "a/b:c\\d\"'", "0")
ODD_CONTENT = {
    "text": "支付 \N{GRINNING FACE} \\ \" ' \x01 \u2028 é e\N{COMBINING ACUTE ACCENT}",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 0.1, -0.0, 1e308, 5e-324],
    "nothing": [None, True, False, "", [], {}, [[]], {"": {}}],
    "$set": {"a.b": 1, "$": "$x"},
    "\N{GRINNING FACE}": "a key",
}
LARGE = 10_000  # characters of a large record


class Ends(NamedTuple):
    """A queue with nothing in it, the documents it leads to, and a way to wait until so many batches are applied."""

    queue: Queue
    documents: Documents
    applied: Callable[[int], Awaitable[None]]


def case(id: str, name: str = "A", **values: object) -> Record:
    return Record(**{"kind": "case", "id": id, "name": name, "content": {"said": name}} | values)


def batch(*records: Record, observation: int = 1, page: str = "0.0", tenant: str = "default") -> Batch:
    return Batch(tenant, "cases", "r1", "s01", page, observation, records)


class QueueContract:
    """Inherit it in a class called Test..., and say how the ends are opened."""

    def opened(self) -> AbstractAsyncContextManager[Ends]:
        raise NotImplementedError("say how an empty queue is opened")

    def test_what_arrives_is_what_was_published(self) -> None:
        records = [case(id, content=ODD_CONTENT, metadata={"tags": [id]}, parent_id=id) for id in ODD_IDS]
        records.append(case("gone", deleted=True, source_version=2**63 - 1))
        published = batch(*records, observation=7)
        found = self._carried(published)
        assert {id: _said(document) for id, document in found.items()} == {
            each.id: (
                each.name,
                each.content,
                each.metadata,
                each.content_hash,
                each.deleted,
                version(each.source_version, 7),
            )
            for each in records
        }

    def test_publishing_again_changes_nothing(self) -> None:
        again = batch(case("1"), case("2"))
        once, thrice = self._carried(again), self._carried(again, again, again)
        assert {id: _said(document) for id, document in thrice.items()} == {id: _said(once[id]) for id in ("1", "2")}

    def test_batches_published_side_by_side_all_arrive(self) -> None:
        batches = [batch(case(f"{page}-1"), case(f"{page}-2"), page=f"{page}.0") for page in range(30)]
        assert self._carried(*batches).keys() == {record.id for each in batches for record in each.records}

    def test_the_newest_wins_in_whatever_order_it_comes(self) -> None:
        old, new = batch(case("1", "A")), batch(case("1", "B"), observation=2, page="1.0")
        for batches in ([old, new], [new, old], [new, old, new], [old, new, old]):
            assert self._carried(*batches, side_by_side=False)["1"].name == "B", "an older batch won over a newer one"

    def test_tenants_stay_apart(self) -> None:
        mine, yours = batch(case("1", "mine")), batch(case("1", "yours"), tenant="you")
        assert self._carried(mine, yours)["1"].name == "mine"

    def test_a_large_batch_arrives(self) -> None:
        large = batch(*(case(str(number), content={"text": "支" * LARGE}) for number in range(1_000)))
        found = self._carried(large)
        assert len(found) == 1_000
        assert {len(document.content["text"]) for document in found.values()} == {LARGE}

    def test_a_batch_without_records_is_carried_too(self) -> None:
        assert self._carried(batch()) == {}

    def test_nothing_waits_when_everything_is_applied(self) -> None:
        async def waiting() -> int:
            async with self.opened() as ends:
                await _publish(ends.queue, [batch(case("1")), batch(case("2"), page="1.0")], side_by_side=True)
                await ends.applied(2)
                return await ends.queue.waiting()

        assert asyncio.run(waiting()) == 0

    def test_a_queue_that_was_closed_is_closed_once_more_without_harm(self) -> None:
        async def closed() -> None:
            async with self.opened() as ends:
                await ends.queue.publish(batch(case("1")))
                await ends.queue.close()
                await ends.queue.close()
                await ends.applied(1)

        asyncio.run(closed())

    def _carried(self, *batches: Batch, side_by_side: bool = True) -> dict[str, Document]:
        """The documents of tenant `default` when all were published and applied."""

        async def carried() -> dict[str, Document]:
            async with self.opened() as ends:
                await _publish(ends.queue, batches, side_by_side)
                await ends.applied(len(batches))
                ids = sorted({record.id for each in batches for record in each.records})
                return ends.documents.read("default", "cases", "case", ids)

        return asyncio.run(carried())


async def _publish(queue: Queue, batches: Sequence[Batch], side_by_side: bool) -> None:
    if side_by_side:
        await asyncio.gather(*(queue.publish(each) for each in batches))
        return
    for each in batches:
        await queue.publish(each)


def _said(document: Document) -> tuple[object, ...]:
    return (
        document.name,
        document.content,
        document.metadata,
        document.content_hash,
        document.deleted,
        document.version,
    )
