"""Where the stores are, as Prefect blocks: on a worker of another machine they say what the file settings says here."""

import asyncio
from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect_redis import RedisDatabase
from pydantic import Field, SecretStr

from blocks.settings import BLOCK


class CollectMetadata(Block):
    """MySQL or MariaDB: catalog, ledger and rows."""

    _block_type_name: ClassVar[str] = "Collect Metadata"
    _block_type_slug: ClassVar[str] = "collect-metadata"

    url: SecretStr = Field(description="mysql+pymysql://user:password@host:3306/database")

    def open(self) -> Any:
        from blocks.sql.mysql import MysqlDatabase

        return MysqlDatabase(self.url.get_secret_value())


class CollectDocuments(Block):
    """MongoDB, a replica set: the full detail of records."""

    _block_type_name: ClassVar[str] = "Collect Documents"
    _block_type_slug: ClassVar[str] = "collect-documents"

    url: SecretStr = Field(description="mongodb://user:password@host:27017/database?replicaSet=rs0")

    def open(self) -> Any:
        from blocks.documents.mongo import MongoDocuments

        return MongoDocuments(self.url.get_secret_value())


class CollectCache(RedisDatabase):
    """Redis: copies of what is asked for most. `url` has everything; host, port and the rest are read from it."""

    _block_type_name: ClassVar[str] = "Collect Cache"
    _block_type_slug: ClassVar[str] = "collect-cache"

    url: SecretStr = Field(description="redis://:password@host:6379/0")

    @classmethod
    def of(cls, url: str) -> "CollectCache":
        parts = RedisDatabase.from_connection_string(url)
        return cls(url=SecretStr(url), **{name: getattr(parts, name) for name in RedisDatabase.model_fields})

    def open(self) -> Any:
        from blocks.caches.redis_cache import RedisCache

        return RedisCache(self.url.get_secret_value())


class CollectQueue(Block):
    """RabbitMQ: what was read, on its way to the stores."""

    _block_type_name: ClassVar[str] = "Collect Queue"
    _block_type_slug: ClassVar[str] = "collect-queue"

    url: SecretStr = Field(description="amqp://user:password@host:5672/vhost")
    keys: SecretStr = Field(description="what signs the messages: id:secret,id:secret")

    def open(self) -> Any:
        from blocks.queues.broker import Broker
        from blocks.queues.rabbitmq import RabbitQueue
        from blocks.settings import signing_keys

        return RabbitQueue(Broker(self.url.get_secret_value()), signing_keys(self.keys.get_secret_value()))


def mirrored(values: dict[str, str]) -> None:
    """Save all blocks under the name the platform looks for."""
    asyncio.run(_mirrored(values))


async def _mirrored(values: dict[str, str]) -> None:
    blocks = (
        CollectMetadata(url=values["metadata"]),
        CollectDocuments(url=values["documents"]),
        CollectCache.of(values["cache"]),
        CollectQueue(url=values["queue"], keys=values["signing_keys"]),
    )
    for block in blocks:
        await block.save(BLOCK, overwrite=True)
