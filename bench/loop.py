"""The plain loop over the full stack: what a good script does, and nothing else.

One process reads and publishes, a second one takes the messages and writes rows, documents and cache, since one alone
has only one core. No versions, no guard, no ledger, no checkpoint, no hash, no lease.

python -m bench.loop ADDRESS METADATA DOCUMENTS CACHE QUEUE
"""

import asyncio
import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from typing import Any

import aio_pika
import httpx
import orjson
import pymongo
import redis

from bench.measuring import Stint
from bench.rows import Rows

Case = dict[str, Any]
PAGE = 250
LANES = 4  # requests side by side
PREFETCH = 8
QUEUE = "perf"


async def read(address: str, broker: str) -> int:
    """Every page becomes a message; an empty one says that all are there."""
    async with await aio_pika.connect(broker) as connection, httpx.AsyncClient(trust_env=False) as client:
        channel = await connection.channel()

        async def lane(offset: int) -> int:
            count = 0
            while True:
                query = f"/index.php?/api/v2/get_cases/1&suite_id=1&limit={PAGE}&offset={offset}"
                cases = orjson.loads((await client.get(address + query)).content)["cases"]
                if not cases:
                    return count
                await channel.default_exchange.publish(aio_pika.Message(orjson.dumps(cases)), QUEUE)
                count, offset = count + len(cases), offset + LANES * PAGE

        count = sum(await asyncio.gather(*(lane(number * PAGE) for number in range(LANES))))
        await channel.default_exchange.publish(aio_pika.Message(b""), QUEUE)
    return count


class Writing:
    """The three stores."""

    def __init__(self, metadata: str, documents: str, cache: str) -> None:
        self.rows = Rows(metadata).write
        self._documents = pymongo.MongoClient(documents).get_default_database()["perf_case"]
        self._cache = redis.Redis.from_url(cache)

    def documents(self, cases: list[Case]) -> None:
        changes = [pymongo.ReplaceOne({"_id": case["id"]}, case, upsert=True) for case in cases]
        self._documents.bulk_write(changes, ordered=False)

    def cache(self, cases: list[Case]) -> None:
        with self._cache.pipeline(transaction=False) as pipeline:
            for case in cases:
                fields = {"name": case["title"], "directory": case["section_id"], "updated": case["updated_on"]}
                pipeline.hset(f"perf:case:{case['id']}", mapping=fields)
            pipeline.execute()


async def load(writing: Writing, broker: str, parent: Connection) -> None:
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(QUEUE, durable=True)
        parent.send("ready")
        stint = Stint()
        async with queue.iterator() as messages:
            async for message in messages:
                if not message.body:
                    await message.ack()
                    break
                cases = orjson.loads(message.body)
                stores = (writing.rows, writing.documents, writing.cache)
                await asyncio.gather(*(asyncio.to_thread(write, cases) for write in stores))
                await message.ack()
        await queue.delete()
    parent.send(stint.process())


def loader(parent: Connection, metadata: str, documents: str, cache: str, queue: str) -> None:
    asyncio.run(load(Writing(metadata, documents, cache), queue, parent))


def main(address: str, *stores: str) -> None:
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=loader, args=(its, *stores))
    process.start()
    mine.recv()
    stint = Stint()
    records = asyncio.run(read(address, stores[-1]))
    reader = stint.process()
    done = mine.recv()
    print(json.dumps({"records": records, "seconds": stint.seconds(), "processes": {"reader": reader, "loader": done}}))
    process.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
