"""The consuming loop between a real RabbitMQ and real stores: nothing is acknowledged that is not in all of them."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

import pytest
from anyio import to_thread

from blocks.caches.none import NoCache
from blocks.queues.deliveries import RabbitDeliveries
from blocks.queues.rabbitmq import RabbitQueue
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.consuming import Consumer
from collectors.errors import Misconfigured, Unreachable
from collectors.loading import Loader

KEYS = {"k1": b"the secret of the tests"}
SECONDS = 30.0


class Cache(NoCache):
    """The last store of a batch. Each drop is told to `on_drop`, which may fail or wait as a server may."""

    def __init__(self, on_drop=lambda tenant: None):
        self.on_drop, self.tenants = on_drop, []

    def drop(self, tenant, keys):
        self.tenants.append(tenant)
        self.on_drop(tenant)


class Loop:
    """A consumer that runs, and the two ends it stands between."""

    def __init__(self, broker, storage, cache):
        self.queue, self.storage = RabbitQueue(broker, KEYS), storage
        self.stop, self.began = asyncio.Event(), asyncio.Queue()
        loader = Loader(storage.rows, storage.documents, cache)
        self.consumer = Consumer(RabbitDeliveries(broker, KEYS), loader, self.stop)

    async def run(self):
        await self.consumer.run(lambda: self.began.put_nowait(True))

    def document(self, id, tenant="default"):
        return self.storage.documents.read(tenant, "cases", "case", [id]).get(id)

    async def until(self, condition):
        async with asyncio.timeout(SECONDS):
            while not condition():
                await self.queue.waiting()


@pytest.fixture
def opened(broker, tmp_path):
    @asynccontextmanager
    async def opening(cache=None, broker=broker):
        with open_storage(Settings(home=tmp_path / "home", prefect_api_url=None)) as storage:
            loop = Loop(broker, storage, cache or Cache())
            try:
                yield loop
            finally:
                await loop.queue.close()

    return opening


@pytest.fixture
def running(opened):
    @asynccontextmanager
    async def run(cache=None):
        async with opened(cache) as loop:
            task = asyncio.create_task(loop.run())
            try:
                yield loop
            finally:
                loop.stop.set()
                await asyncio.wait_for(task, SECONDS)

    return run


@pytest.fixture
def batches(new_case, new_batch):
    return [new_batch(new_case(f"{page}"), page=f"{page}.0", tenant=f"t{page}") for page in range(6)]


async def test_what_is_published_is_applied_and_acknowledged(running, batches):
    async with running() as loop:
        for batch in batches:
            await loop.queue.publish(batch)
        await loop.until(lambda: all(loop.document(str(page), f"t{page}") for page in range(6)))
    assert await loop.queue.waiting() == 0
    await loop.queue.close()


async def test_batches_are_applied_side_by_side(running, batches):
    both = threading.Barrier(2, timeout=SECONDS)
    cache = Cache(lambda tenant: both.wait())
    async with running(cache) as loop:
        for batch in batches:
            await loop.queue.publish(batch)
        await loop.until(lambda: len(cache.tenants) == 6)


async def test_while_a_store_is_away_the_batch_is_held_and_no_other_is_taken(running, batches, caplog):
    away = threading.Event()
    away.set()

    def drop(tenant):
        if away.is_set():
            raise Unreachable("the cache is away", code="COL-0700")

    cache = Cache(drop)
    async with running(cache) as loop:
        for batch in batches:
            await loop.queue.publish(batch)
        await loop.until(lambda: len(cache.tenants) >= 6)
        assert len(set(cache.tenants)) <= loop.consumer.workers
        away.clear()
        await loop.until(lambda: set(cache.tenants) == {f"t{page}" for page in range(6)})
    told = [line for line in caplog.messages if "stores" in line]
    assert told == ["batches wait, the stores do not take them: the cache is away", "the stores take batches again"]
    assert await loop.queue.waiting() == 0
    await loop.queue.close()


async def test_what_fails_unforeseen_comes_again_and_is_applied(running, batches):
    failures = iter([RuntimeError("once"), RuntimeError("twice")])

    def drop(tenant):
        if error := next(failures, None):
            raise error

    cache = Cache(drop)
    async with running(cache) as loop:
        await loop.queue.publish(batches[0])
        await loop.until(lambda: len(cache.tenants) == 3)
        assert loop.document("0", "t0")


async def test_what_fails_again_and_again_ends_in_the_dead_letters_and_its_neighbours_are_applied(
    running, batches, broker, counter
):
    def drop(tenant):
        if tenant == "t3":
            raise RuntimeError("never")

    async with running(Cache(drop)) as loop, counter() as raw:
        for batch in batches:
            await loop.queue.publish(batch)
        dead = await raw.get(broker.topology.dead)
        await loop.until(lambda: all(loop.document(str(page), f"t{page}") for page in range(6)))
    assert dead.message_id == batches[3].batch_id
    assert "never" in dead.headers["reason"]


async def test_a_stop_finishes_what_is_in_hand_and_leaves_the_rest(opened, batches, caplog):
    in_hand, go_on = threading.Semaphore(0), threading.Event()

    def drop(tenant):
        in_hand.release()
        assert go_on.wait(SECONDS)

    cache = Cache(drop)
    async with opened(cache) as loop:
        for batch in batches:
            await loop.queue.publish(batch)
        task = asyncio.create_task(loop.run())
        for _ in range(loop.consumer.workers):
            assert await to_thread.run_sync(in_hand.acquire, True, SECONDS)
        loop.stop.set()
        await loop.queue.waiting()
        assert not task.done()
        go_on.set()
        await asyncio.wait_for(task, SECONDS)
        assert len(cache.tenants) == loop.consumer.workers
        rest = set()
        async with loop.consumer.deliveries.taken() as deliveries:
            while len(rest) < 6 - len(cache.tenants):
                rest.add((await anext(deliveries)).batch.tenant)
        assert rest == {f"t{page}" for page in range(6)} - set(cache.tenants)


async def test_a_stop_ends_the_holding_and_the_batch_comes_again(opened, batches):
    def drop(tenant):
        raise Unreachable("the cache is away", code="COL-0700")

    cache = Cache(drop)
    async with opened(cache) as loop:
        await loop.queue.publish(batches[0])
        task = asyncio.create_task(loop.run())
        await loop.until(lambda: cache.tenants)
        loop.stop.set()
        await asyncio.wait_for(task, SECONDS)
        async with loop.consumer.deliveries.taken() as deliveries:
            assert (await anext(deliveries)).batch == batches[0]


async def test_a_broker_that_goes_away_is_waited_for(node, opened, new_broker, batches, caplog):
    caplog.set_level(logging.WARNING)
    async with opened(broker=new_broker(node.url, altogether=60)) as loop:
        task = asyncio.create_task(loop.run())
        await asyncio.wait_for(loop.began.get(), SECONDS)
        node.kill()
        while "no batches come" not in caplog.text:
            await asyncio.sleep(0)
        await to_thread.run_sync(node.start)
        await asyncio.wait_for(loop.began.get(), SECONDS)
        await loop.queue.publish(batches[0])
        await loop.until(lambda: loop.document("0", "t0"))
        loop.stop.set()
        await asyncio.wait_for(task, SECONDS)


async def test_a_batch_whose_acknowledgement_fails_comes_again(node, opened, new_broker, batches):
    """The server is killed while a batch is in hand."""

    def drop(tenant):
        if len(cache.tenants) == 1:
            node.kill()

    cache = Cache(drop)
    async with opened(cache, new_broker(node.url, altogether=60)) as loop:
        await loop.queue.publish(batches[0])
        task = asyncio.create_task(loop.run())
        while not cache.tenants:
            await asyncio.sleep(0)
        await to_thread.run_sync(node.start)
        await loop.until(lambda: len(cache.tenants) > 1)
        loop.stop.set()
        await asyncio.wait_for(task, SECONDS)
        assert await loop.queue.waiting() == 0


async def test_a_loader_that_cannot_begin_says_why(opened, new_broker, rabbitmq):
    wrong = new_broker(rabbitmq.replace("guest:guest", "guest:wrong"))
    async with opened(broker=wrong) as loop:
        with pytest.raises(Misconfigured) as raised:
            await loop.run()
    assert raised.value.code == "COL-0673"
