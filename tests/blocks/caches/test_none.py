"""Without a cache everything is loaded each time."""

from contextlib import nullcontext

from blocks.caches.none import NoCache
from collectors.testing.cache_contract import CacheContract


class TestNoCache(CacheContract):
    def opened(self):
        return nullcontext(NoCache())
