"""The near end of RabbitMQ: what it says is safe is safe, and what keeps it from saying so is named."""

import asyncio
import logging
import ssl
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from blocks.queues.deliveries import RabbitDeliveries
from blocks.queues.rabbitmq import RabbitQueue
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured, Unreachable
from collectors.loading import Loader
from collectors.testing.queue_contract import Ends, QueueContract

KEYS = {"k1": b"the secret of the tests"}
PASSWORD = "p@ss/w0rd"


class TestRabbitQueue(QueueContract):
    @pytest.fixture(autouse=True)
    def _ends(self, new_broker, rabbitmq, tmp_path_factory):
        self.broker = lambda: new_broker(rabbitmq)
        self.folder = lambda: tmp_path_factory.mktemp("stores")

    @asynccontextmanager
    async def opened(self):
        broker = self.broker()
        queue, deliveries = RabbitQueue(broker, KEYS), RabbitDeliveries(broker, KEYS)
        with open_storage(Settings(home=self.folder(), prefect_api_url=None)) as storage:
            loader = Loader(storage.rows, storage.documents, storage.cache)

            async def applied(count):
                async with deliveries.taken() as batches:
                    for _ in range(count):
                        delivery = await anext(batches)
                        loader.apply(delivery.batch)
                        await delivery.done()

            yield Ends(queue, storage.documents, applied)
            await queue.close()


@asynccontextmanager
async def queue_at(broker):
    queue = RabbitQueue(broker, KEYS)
    try:
        yield queue
    finally:
        await queue.close()


async def refusal(broker, new_batch, kind=Misconfigured):
    async with queue_at(broker) as queue:
        with pytest.raises(kind) as raised:
            await queue.publish(new_batch())
    return raised.value


# ---- what is published ------------------------------------------------------------------------------------


async def test_a_message_survives_its_broker_and_can_be_told_apart(broker, new_batch, counter):
    batch = new_batch(tenant="mine")
    async with queue_at(broker) as queue, counter() as raw:
        await queue.publish(batch)
        message = await raw.get(broker.topology.name)
    assert (message.delivery_mode, message.message_id) == (2, batch.batch_id)
    assert (message.headers["tenant"], message.headers["schema"], message.headers["key"]) == ("mine", 1, "k1")


async def test_waiting_counts_what_is_delayed_too(broker, new_batch, counter):
    patient = replace(broker, topology=replace(broker.topology, delays=(60,)))
    async with queue_at(patient) as queue, counter() as raw:
        await queue.publish(new_batch())
        await raw.put(patient.topology.delayed(0), b"later")
        assert await queue.waiting() == 2


def test_every_queue_is_made_with_all_its_arguments(node, new_broker, new_batch):
    broker = new_broker(node.url, name="shown", delays=(1, 10))

    async def made():
        async with queue_at(broker) as queue:
            await queue.waiting()

    asyncio.run(made())
    rows = [line.split("\t") for line in node.tell("list_queues", "name", "durable", "arguments").splitlines()]
    shown = {name: arguments for name, durable, arguments in rows if name.startswith("shown") and durable == "true"}
    assert shown.keys() == {"shown", "shown.dead", "shown.delay.1000", "shown.delay.10000"}
    assert all('"x-queue-type","quorum"' in arguments for arguments in shown.values())
    for name, target in {"shown": "shown.dead", "shown.delay.1000": "shown", "shown.delay.10000": "shown"}.items():
        for part in (
            f'"x-dead-letter-routing-key","{target}"',
            '"x-dead-letter-strategy","at-least-once"',
            '"x-overflow","reject-publish"',
        ):
            assert part in shown[name]
    assert '"x-delivery-limit",50' in shown["shown"]
    assert '"x-max-length-bytes",1073741824' in shown["shown"]
    assert '"x-message-ttl",10000' in shown["shown.delay.10000"]


async def test_a_queue_that_was_deleted_is_made_again_and_holds_the_batch(broker, new_batch, counter):
    async with queue_at(broker) as queue, counter() as raw:
        await queue.publish(new_batch())
        await raw.channel.queue_delete(broker.topology.name)
        await queue.publish(new_batch(observation=2))
        assert (await raw.get(broker.topology.name)).message_id == new_batch(observation=2).batch_id
        assert await raw.holds(broker.topology.name) == 0


async def test_a_queue_that_was_closed_can_be_used_again(broker, new_batch):
    async with queue_at(broker) as queue:
        for observation in (1, 2):
            await queue.publish(new_batch(observation=observation))
            await queue.close()
        assert await queue.waiting() == 2


# ---- what keeps it from being published -------------------------------------------------------------------


async def test_a_wrong_password_is_said_and_shown_nowhere(rabbitmq, new_broker, new_batch, caplog):
    caplog.set_level(logging.DEBUG)
    for logger in ("aiormq", "aio_pika"):
        caplog.set_level(logging.DEBUG, logger)
    url = rabbitmq.replace("guest:guest", "guest:p%40ss%2Fw0rd")
    error = await refusal(new_broker(url), new_batch)
    assert error.code == "COL-0673"
    shown = f"{error} {error!r} {error.__cause__!r} {new_broker(url)!r} {new_broker(url)} {caplog.text}"
    assert "guest" in str(error)
    assert "w0rd" not in shown


async def test_an_unreachable_server_is_said_within_the_limit_and_without_the_password(
    unused_port, new_broker, new_batch, caplog
):
    caplog.set_level(logging.DEBUG)
    broker = new_broker(f"amqp://me:{PASSWORD}@127.0.0.1:{unused_port}/v", answer=1, altogether=0.5)
    began = time.monotonic()
    error = await refusal(broker, new_batch, Unreachable)
    assert time.monotonic() - began < 5
    assert error.code == "COL-0670"
    assert f"127.0.0.1:{unused_port}/v" in str(error)
    assert "w0rd" not in f"{error} {error!r} {caplog.text}"


async def test_a_virtual_host_that_is_not_there_is_said(rabbitmq, new_broker, new_batch):
    assert (await refusal(new_broker(f"{rabbitmq}/nowhere"), new_batch)).code == "COL-0674"


async def test_missing_rights_are_said(node, new_broker, new_batch):
    node.tell("add_user", "poor", "poor")
    node.tell("add_user", "reader", "reader")
    node.tell("set_permissions", "-p", "/", "reader", "^$", ".*", ".*")
    url = node.url.replace("guest:guest", "{0}:{0}")
    assert (await refusal(new_broker(url.format("poor")), new_batch)).code == "COL-0674"
    error = await refusal(new_broker(url.format("reader")), new_batch)
    assert error.code == "COL-0675"
    assert "reader" in error.remedy


async def test_a_queue_made_by_somebody_else_is_named_and_left_alone(broker, new_batch, counter):
    name = broker.topology.name
    async with counter() as raw:
        await raw.channel.declare_queue(name, durable=True)
        await raw.put(name, b"theirs")
        error = await refusal(broker, new_batch)
        assert error.code == "COL-0676"
        assert f"delete_queue {name}" in error.remedy
        assert (await raw.get(name)).body == b"theirs"


async def test_a_batch_larger_than_a_message_may_be_is_said_at_once(node, new_broker, new_batch, new_case):
    broker, large = new_broker(node.url), new_batch(new_case("1", content={"text": "x" * 100_000}))
    node.tell("eval", "application:set_env(rabbit, max_message_size, 10000).")
    try:
        error = await refusal(broker, lambda: large)
    finally:
        node.tell("eval", "application:set_env(rabbit, max_message_size, 134217728).")
    assert error.code == "COL-0678"
    assert "batch_size" in error.remedy


async def test_a_full_queue_is_said_and_takes_again_when_it_was_emptied(rabbitmq, new_broker, new_batch, counter):
    broker = new_broker(rabbitmq, answer=2, altogether=1, most_bytes=10)
    async with queue_at(broker) as queue, counter() as raw:
        with pytest.raises(Unreachable) as raised:
            for observation in range(100):
                await queue.publish(new_batch(observation=observation))
        assert raised.value.code == "COL-0672"
        while await raw.holds(broker.topology.name):
            await raw.get(broker.topology.name)
        await queue.publish(new_batch(observation=1000))


# ---- harm done to the server ------------------------------------------------------------------------------


async def test_nothing_confirmed_is_lost_when_the_server_is_killed(node, new_broker, new_case, new_batch, counter):
    """Six publish side by side; the server is killed after a few batches, and started again."""
    broker, confirmed = new_broker(node.url, answer=5, altogether=60), []
    killed = asyncio.Event()

    async def publish(queue, mine):
        for number in range(mine, 240, 6):
            batch = new_batch(new_case(str(number), content={"text": "x" * 1000}), page=f"{number}.0")
            await queue.publish(batch)
            confirmed.append(batch.batch_id)
            if len(confirmed) == 60:
                node.kill()
                killed.set()

    async def revive():
        await killed.wait()
        await asyncio.to_thread(node.start)

    async with queue_at(broker) as queue:
        await asyncio.gather(*(publish(queue, mine) for mine in range(6)), revive())
    assert len(confirmed) == 240
    async with counter() as raw:
        kept = {(await raw.get(broker.topology.name)).message_id for _ in range(await raw.holds(broker.topology.name))}
    assert kept >= set(confirmed)


async def test_a_frozen_server_is_given_up_within_the_limit_and_used_again_when_it_is_back(
    node, new_broker, new_case, new_batch
):
    large = new_case("1", content={"text": "x" * 5_000_000})
    broker = new_broker(node.url, answer=1, altogether=2.5)
    async with queue_at(broker) as queue:
        await queue.publish(new_batch())
        node.freeze()
        try:
            began = time.monotonic()
            attempts = [queue.publish(new_batch(large, page=f"{page}.0")) for page in range(3)]
            errors = await asyncio.gather(*attempts, return_exceptions=True)
            took = time.monotonic() - began
            await queue.close()
        finally:
            node.thaw()
        assert [getattr(error, "code", error) for error in errors] == ["COL-0670"] * 3
        assert took < 6
        await queue.publish(new_batch(observation=2))


async def test_a_frozen_server_whose_heartbeats_are_missed_is_unreachable_and_cancels_nobody(
    node, new_broker, new_batch
):
    broker = new_broker(f"{node.url}/?heartbeat=1", answer=15, altogether=8)
    async with queue_at(broker) as queue:
        await queue.publish(new_batch())
        node.freeze()
        try:
            with pytest.raises(Unreachable):
                await queue.publish(new_batch(observation=2))
        finally:
            node.thaw()


async def test_a_server_short_of_disk_is_waited_for_and_said(node, new_broker, new_batch, caplog):
    broker = new_broker(node.url, answer=1, altogether=3)
    async with queue_at(broker) as queue:
        await queue.publish(new_batch())
        node.tell("set_disk_free_limit", "1000000000000000")
        try:
            with pytest.raises(Unreachable) as raised:
                await queue.publish(new_batch(observation=2))
            assert raised.value.code == "COL-0671"
            assert "trying again" in caplog.text
            async with RabbitDeliveries(broker, KEYS).taken() as batches:  # loaders go on, and make room
                await (await anext(batches)).done()
        finally:
            node.tell("set_disk_free_limit", "1000000")
        await queue.publish(new_batch(observation=3))


# ---- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    paths = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", "req", *options.split(), "-keyout", paths[0], "-out", paths[1]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


@pytest.fixture
def secured(rabbitmq, certificate):
    """The same server, spoken to through TLS."""

    @asynccontextmanager
    async def opened():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate[1], certificate[0])
        port = int(rabbitmq.rpartition(":")[2])

        async def relay(reader, writer):
            inner = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pumped(reader, inner[1]), _pumped(inner[0], writer))

        async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
            yield f"amqps://guest:guest@localhost:{server.sockets[0].getsockname()[1]}"

    return opened


async def _pumped(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_batches_go_through_tls_when_the_authority_is_named(secured, certificate, new_broker, new_batch):
    async with secured() as url, queue_at(new_broker(f"{url}/?cafile={certificate[1]}")) as queue:
        await queue.publish(new_batch())
        assert await queue.waiting() == 1


async def test_an_untrusted_certificate_is_refused(secured, new_broker, new_batch):
    async with secured() as url:
        error = await refusal(new_broker(url), new_batch)
    assert error.code == "COL-0677"
    assert "certificate" in str(error)


async def test_a_port_without_tls_and_a_missing_file_are_said(rabbitmq, new_broker, new_batch):
    url = rabbitmq.replace("amqp://", "amqps://")
    for broken in (url, f"{url}/?cafile=/nowhere.pem"):
        assert (await refusal(new_broker(broken), new_batch)).code == "COL-0677"


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
