"""No cache at all keeps the contract."""

import pytest

from blocks.caches.none import NoCache
from collectors.testing.cache_contract import CacheContract


class TestNoCache(CacheContract):
    @pytest.fixture
    def cache(self):
        return NoCache()
