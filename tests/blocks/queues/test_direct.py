"""The queue without a broker keeps what every queue has to keep."""

from contextlib import asynccontextmanager

import pytest

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.testing.queue_contract import Ends, QueueContract


class TestDirectQueue(QueueContract):
    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path_factory):
        self.folder = lambda: tmp_path_factory.mktemp("stores")

    @asynccontextmanager
    async def opened(self):
        with open_storage(Settings(home=self.folder(), prefect_api_url=None)) as storage:

            async def applied(_):
                """Each was, before its publishing returned."""

            yield Ends(storage.queue, storage.documents, applied)
