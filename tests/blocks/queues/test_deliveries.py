"""The far end of RabbitMQ: what was not acknowledged comes again, what is not ours is set apart."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from blocks.queues import messages
from blocks.queues.deliveries import PREFETCH, RabbitDeliveries
from blocks.queues.messages import Seal
from blocks.queues.rabbitmq import RabbitQueue
from collectors.errors import Misconfigured, Unreachable

KEYS = {"k1": b"the secret of the tests"}
TAKER = """
import asyncio, sys
from blocks.queues.broker import Broker
from blocks.queues.deliveries import RabbitDeliveries
from blocks.queues.topology import Topology

async def take(url, name, delays):
    deliveries = RabbitDeliveries(Broker(url, Topology(name, tuple(map(float, delays)))), {"k1": sys.argv[1].encode()})
    async with deliveries.taken() as batches:
        print((await anext(batches)).batch.batch_id, flush=True)
        await asyncio.Event().wait()

asyncio.run(take(sys.argv[2], sys.argv[3], sys.argv[4:]))
"""


@pytest.fixture
def deliveries(broker):
    return RabbitDeliveries(broker, KEYS)


@pytest.fixture
def publish(broker):
    async def published(*batches, keys=KEYS):
        queue = RabbitQueue(broker, keys)
        for batch in batches:
            await queue.publish(batch)
        await queue.close()

    return published


@pytest.fixture
def published_raw(broker, counter):
    """Puts a message into the main queue past our own code."""

    async def put(message):
        async with counter() as raw:
            await broker.topology.declare(raw.channel)
            headers = dict(message.headers)
            await raw.put(broker.topology.name, message.body, message_id=message.id, headers=headers, delivery_mode=2)

    return put


# ---- taken and acknowledged -------------------------------------------------------------------------------


async def test_what_is_acknowledged_is_gone(deliveries, publish, new_batch, broker, counter):
    await publish(new_batch())
    async with deliveries.taken() as batches:
        delivery = await anext(batches)
        assert (delivery.batch, delivery.attempt) == (new_batch(), 0)
        await delivery.done()
    async with counter() as raw:
        assert await raw.holds(broker.topology.name) == 0


async def test_what_is_not_acknowledged_comes_again(deliveries, publish, new_batch):
    await publish(new_batch())
    for _ in range(3):
        async with deliveries.taken() as batches:
            assert (await anext(batches)).attempt == 0


async def test_only_a_few_are_taken_at_a_time(deliveries, publish, new_batch, broker, counter):
    await publish(*(new_batch(page=f"{page}.0") for page in range(PREFETCH + 3)))
    async with deliveries.taken() as batches, counter() as raw:
        first = [await anext(batches) for _ in range(PREFETCH)]
        assert await raw.holds(broker.topology.name) == 3
        await first[0].done()
        await anext(batches)


async def test_a_loader_that_is_killed_leaves_its_batch_to_the_next_one(
    deliveries, publish, new_batch, broker, counter
):
    await publish(new_batch(), new_batch(page="1.0"))
    for _ in range(3):
        arguments = [KEYS["k1"].decode(), broker.url, broker.topology.name, *map(str, broker.topology.delays)]
        with subprocess.Popen([sys.executable, "-c", TAKER, *arguments], stdout=subprocess.PIPE, text=True) as taker:
            assert await asyncio.to_thread(taker.stdout.readline) == f"{new_batch().batch_id}\n"
            os.kill(taker.pid, signal.SIGKILL)
    async with deliveries.taken() as batches, counter() as raw:
        found = [(await anext(batches)).batch.batch_id for _ in range(2)]
        assert sorted(found) == sorted([new_batch().batch_id, new_batch(page="1.0").batch_id])
        assert await raw.holds(broker.topology.dead) == 0


# ---- delayed ----------------------------------------------------------------------------------------------


async def test_what_is_delayed_comes_again_rung_by_rung_and_ends_in_the_dead_letters(
    deliveries, publish, new_batch, new_case, broker, counter
):
    batch = new_batch(new_case("1"))
    await publish(batch)
    async with deliveries.taken() as batches, counter() as raw:
        for attempt in range(len(broker.topology.delays) + 1):
            delivery = await anext(batches)
            assert (delivery.batch, delivery.attempt) == (batch, attempt)
            await delivery.later(f"failed {attempt}")
        dead = await raw.get(broker.topology.dead)
        assert await raw.holds(broker.topology.name) == 0
    assert (dead.headers["attempt"], dead.headers["reason"]) == (3, "failed 2")
    assert Seal(KEYS).opened(messages.Message(dead.message_id, dead.headers, dead.body)) == batch


async def test_what_is_delayed_waits_for_its_rung(deliveries, publish, new_batch, broker):
    await publish(new_batch())
    slow = replace(broker, topology=replace(broker.topology, name=f"{broker.topology.name}.slow", delays=(1.0,)))
    queue, loop = RabbitQueue(slow, KEYS), asyncio.get_running_loop()
    await queue.publish(new_batch())
    async with RabbitDeliveries(slow, KEYS).taken() as batches:
        await (await anext(batches)).later("failed")
        began = loop.time()
        await anext(batches)
        assert loop.time() - began > 0.9
    await queue.close()


@pytest.mark.parametrize("attempt", ["3", -5, 2**40, [1], None])
async def test_an_attempt_that_is_none_does_no_harm(deliveries, published_raw, new_batch, attempt, broker, counter):
    message = Seal(KEYS).closed(new_batch())
    await published_raw(message._replace(headers=message.headers | {"attempt": attempt}))
    async with deliveries.taken() as batches, counter() as raw:
        await (await anext(batches)).later("failed")
        if attempt == 2**40:
            await raw.get(broker.topology.dead)
        else:
            assert (await anext(batches)).attempt == 1


async def test_what_was_brought_back_from_the_dead_letters_can_be_delayed_too(
    deliveries, published_raw, new_batch, broker
):
    message = Seal(KEYS).closed(new_batch())
    name = broker.topology.name
    death = {"queue": name, "reason": "delivery_limit", "count": 1, "exchange": "", "routing-keys": [name]}
    history = {"x-death": [death | {"time": datetime.now(UTC)}], "x-first-death-queue": name}
    await published_raw(message._replace(headers=message.headers | history))
    async with deliveries.taken() as batches:
        await (await anext(batches)).later("failed")
        assert (await anext(batches)).attempt == 1


# ---- not ours ---------------------------------------------------------------------------------------------


def forged(message):
    """What a stranger may make of a message of ours, each with a word of the line that is logged."""
    headers = message.headers
    yield message._replace(body=message.body.replace(b'"observation":1', b'"observation":9')), "signature"
    yield message._replace(headers=headers | {"tenant": "other"}), "signature"
    yield message._replace(headers=headers | {"key": "k2"}), "not known"
    yield message._replace(headers={"tenant": "default"}), "no signature"
    yield messages.Message(None, {}, b"\x00\xff"), "no signature"
    yield Seal({"k1": b"another secret"}).closed(Seal(KEYS).opened(message)), "signature"


async def test_what_is_not_ours_goes_to_the_dead_letters_at_once_and_the_next_one_is_taken(
    deliveries, publish, published_raw, new_case, new_batch, broker, counter, caplog
):
    caplog.set_level(logging.INFO)
    strange = list(forged(Seal(KEYS).closed(new_batch(new_case("1")))))
    for message, _ in strange:
        await published_raw(message)
    await publish(new_batch(page="1.0"))
    async with deliveries.taken() as batches, counter() as raw:
        delivery = await anext(batches)
        assert delivery.batch == new_batch(page="1.0")
        await delivery.done()
        dead = [await raw.get(broker.topology.dead) for _ in strange]
        assert await raw.holds(broker.topology.name) == 0
    assert sorted(each.body for each in dead) == sorted(message.body for message, _ in strange)
    told = [line for line in caplog.messages if "dead letters" in line]
    assert [word for (_, word), line in zip(strange, told, strict=True) if word not in line] == []
    assert "secret" not in caplog.text


async def test_what_a_newer_version_wrote_waits_for_a_newer_loader(
    deliveries, publish, new_batch, monkeypatch, broker, counter, caplog
):
    monkeypatch.setattr(messages, "SCHEMA", 2)
    await publish(new_batch())
    monkeypatch.undo()
    await publish(new_batch(page="1.0"))
    async with deliveries.taken() as batches, counter() as raw:
        await (await anext(batches)).done()
        waiting = asyncio.ensure_future(anext(batches))
        while caplog.text.count("newer loader") < len(broker.topology.delays) + 2:
            await raw.holds(broker.topology.name)
        monkeypatch.setattr(messages, "SCHEMA", 2)
        assert (await waiting).batch == new_batch()
        assert await raw.holds(broker.topology.dead) == 0


# ---- a connection that is lost ----------------------------------------------------------------------------


async def test_a_queue_that_is_deleted_ends_the_batches(deliveries, broker, counter):
    async with deliveries.taken() as batches, counter() as raw:
        await raw.channel.queue_delete(broker.topology.name)
        with pytest.raises(Unreachable):
            await anext(batches)


async def test_a_server_that_is_killed_ends_the_batches_and_what_was_in_hand_comes_again(node, new_broker, new_batch):
    broker = new_broker(node.url)
    deliveries, queue = RabbitDeliveries(broker, KEYS), RabbitQueue(broker, KEYS)
    await queue.publish(new_batch())
    try:
        async with deliveries.taken() as batches:
            delivery = await anext(batches)
            node.kill()
            with pytest.raises(Unreachable):
                await anext(batches)
            with pytest.raises(Unreachable):
                await delivery.done()
    finally:
        await asyncio.to_thread(node.start)
    async with deliveries.taken() as batches:
        await (await anext(batches)).done()
    assert await queue.waiting() == 0
    await queue.close()


async def test_what_cannot_be_delayed_is_not_acknowledged(node, new_broker, new_batch):
    broker = new_broker(node.url, answer=1, altogether=1)
    deliveries, queue = RabbitDeliveries(broker, KEYS), RabbitQueue(broker, KEYS)
    await queue.publish(new_batch())
    async with deliveries.taken() as batches:
        delivery = await anext(batches)
        node.freeze()
        try:
            with pytest.raises(Unreachable):
                await delivery.later("failed")
        finally:
            node.thaw()
    async with deliveries.taken() as batches:
        assert (await anext(batches)).batch == new_batch()
    await queue.close()


async def test_a_server_short_of_disk_keeps_nobody_from_acknowledging(node, new_broker, new_batch):
    broker = new_broker(node.url, answer=1, altogether=1.5)
    deliveries, queue = RabbitDeliveries(broker, KEYS), RabbitQueue(broker, KEYS)
    for page in ("0.0", "1.0"):
        await queue.publish(new_batch(page=page))
    async with deliveries.taken() as batches:
        failed, good = await anext(batches), await anext(batches)
        node.tell("set_disk_free_limit", "1000000000000000")
        try:
            with pytest.raises(Unreachable) as raised:
                await failed.later("failed")
            assert raised.value.code == "COL-0671"
            await good.done()
        finally:
            node.tell("set_disk_free_limit", "1000000")
    async with deliveries.taken() as batches:
        assert (await anext(batches)).batch == failed.batch
    await queue.close()


async def test_a_wrong_password_is_said_before_anything_is_taken(rabbitmq, new_broker):
    wrong = new_broker(rabbitmq.replace("guest:guest", "guest:wrong"))
    with pytest.raises(Misconfigured) as raised:
        async with RabbitDeliveries(wrong, KEYS).taken():
            pass
    assert raised.value.code == "COL-0673"
