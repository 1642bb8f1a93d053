"""What the properties share: the real stores, opened once; each example has a collection of its own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from blocks.addresses import Addresses
from blocks.queues.direct import DirectQueue
from blocks.settings import Settings
from blocks.sql.migrations import migrate
from blocks.stores import Storage, open_storage
from collectors.loading import Loader

settings.register_profile(
    "bounded", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("bounded")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with open_storage(Settings(tmp_path_factory.mktemp("stores") / "home", None)) as opened:
        yield opened


@pytest.fixture(scope="module")
def served_storage(
    new_metadata_url: Callable[[], str],
    new_documents_url: Callable[[], str],
    redis_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Storage]:
    """The servers of the full stack; what is published is applied at once, as the examples say when."""
    where = Addresses(new_metadata_url(), new_documents_url(), redis_server.server.url, "amqp://nowhere")
    settings = Settings(tmp_path_factory.mktemp("served") / "home", None, where, {"test": b"k" * 32})
    with open_storage(settings) as opened:
        migrate(opened.rows._database)
        queue = DirectQueue(Loader(opened.rows, opened.documents, opened.cache))
        yield replace(opened, queue=queue, deliveries=None)


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"c{number}" for number in count(1))
