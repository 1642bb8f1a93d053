"""The queue without a broker: a batch is applied at once, and confirmed when it is in every store."""

from anyio import to_thread

from collectors.loading import Loader
from collectors.models import Batch


class DirectQueue:
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    async def publish(self, batch: Batch) -> None:
        await to_thread.run_sync(self._loader.apply, batch)

    async def waiting(self) -> int:
        return 0

    async def close(self) -> None:
        pass
