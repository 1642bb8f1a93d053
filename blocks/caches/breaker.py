"""A Redis that failed is left alone for some seconds, and that is told once."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from redis.exceptions import RedisError

from blocks.caches.refusals import in_our_words
from collectors.language import spoken

SECONDS_LEFT_ALONE = 5.0

log = logging.getLogger(__name__)


class Breaker:
    def __init__(self, server: str) -> None:
        self._server, self._failing = server, Lock()
        self._open_until, self._told = 0.0, False

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What Redis does not answer ends the block, and nothing else."""
        try:
            yield
        except RedisError as error:
            self._open(error)
        else:
            self._told = False

    def _open(self, error: RedisError) -> None:
        with self._failing:
            self._open_until = time.monotonic() + SECONDS_LEFT_ALONE
            if not self._told:
                log.warning(spoken("{what}; going on without it", what=in_our_words(error, self._server).what))
            self._told = True
