"""Where the stores are, as Prefect blocks: on a worker of another machine they say what the file `settings` says here.

Prefect imports this module with every server and worker it starts: drivers are imported when a store is opened.
"""

import asyncio
from typing import TYPE_CHECKING, ClassVar

from httpx import HTTPError
from prefect.blocks.core import Block
from prefect.exceptions import PrefectException
from prefect_redis import RedisDatabase
from pydantic import Field, SecretStr

from blocks.addresses import EXAMPLES
from blocks.prefect_blocks import NAME, SLUGS
from blocks.settings import Settings, signing_keys, written
from collectors.errors import Unreachable

if TYPE_CHECKING:
    from blocks.caches.redis_cache import RedisCache
    from blocks.documents.mongo import MongoDocuments
    from blocks.queues.rabbitmq import RabbitQueue
    from blocks.sql.mysql import MysqlDatabase

LONGEST_REASON = 200


class CollectMetadata(Block):
    """MySQL or MariaDB: catalog, ledger and rows."""

    _block_type_name: ClassVar[str] = "Collect Metadata"
    _block_type_slug: ClassVar[str] = SLUGS["metadata"]

    url: SecretStr = Field(description=EXAMPLES["metadata"])

    def open(self) -> "MysqlDatabase":
        from blocks.sql.mysql import MysqlDatabase

        return MysqlDatabase(self.url.get_secret_value())


class CollectDocuments(Block):
    """MongoDB, a replica set: the full detail of records."""

    _block_type_name: ClassVar[str] = "Collect Documents"
    _block_type_slug: ClassVar[str] = SLUGS["documents"]

    url: SecretStr = Field(description=EXAMPLES["documents"])

    def open(self) -> "MongoDocuments":
        from blocks.documents.mongo import MongoDocuments

        return MongoDocuments(self.url.get_secret_value())


class CollectCache(RedisDatabase):
    """Redis: copies of what is asked for most. A Redis Database block that is told by its connection URL alone."""

    _block_type_name: ClassVar[str] = "Collect Cache"
    _block_type_slug: ClassVar[str] = SLUGS["cache"]

    connection_url: SecretStr = Field(description=f"{EXAMPLES['cache']}; host, port and the others count for nothing")

    def open(self) -> "RedisCache":
        from blocks.caches.redis_cache import RedisCache

        return RedisCache(self.connection_url.get_secret_value())


class CollectQueue(Block):
    """RabbitMQ: what was read, on its way to the stores."""

    _block_type_name: ClassVar[str] = "Collect Queue"
    _block_type_slug: ClassVar[str] = SLUGS["queue"]

    url: SecretStr = Field(description=EXAMPLES["queue"])
    signing_keys: SecretStr = Field(
        default=SecretStr(""),
        description="id:secret,id:secret; the first one signs the messages. Without any, the password of the URL does",
    )

    def open(self) -> "RabbitQueue":
        from blocks.queues.broker import Broker
        from blocks.queues.rabbitmq import RabbitQueue

        return RabbitQueue(Broker(self.url.get_secret_value()), signing_keys(self.signing_keys.get_secret_value()))


def mirror(settings: Settings) -> None:
    """Save the four blocks under the name the platform looks for. Raises Unreachable."""
    where, keys = settings.addresses, written(settings.signing_keys)
    blocks = (
        CollectMetadata(url=where.metadata),
        CollectDocuments(url=where.documents),
        CollectCache(connection_url=where.cache),
        CollectQueue(url=where.queue, signing_keys=keys),
    )
    try:
        asyncio.run(_save(blocks))
    except (HTTPError, PrefectException) as error:
        raise Unreachable(
            "the Prefect server does not take the blocks ({why})",
            "Correct PREFECT_API_URL or PREFECT_API_AUTH_STRING, then: collect storage mirror",
            code="COL-0731",
            why=f"{error}".partition("\n")[0][:LONGEST_REASON],
        ) from None


async def _save(blocks: tuple[Block, ...]) -> None:
    for block in blocks:
        await block.save(NAME, overwrite=True)
