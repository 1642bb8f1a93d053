"""Scrapy over the same source: a spider and two item pipelines, MySQL and MongoDB, batched and off the reactor.

No queue, no cache, no guarantees. Runs in .venv/bench.

python -m bench.scrapy_spider ADDRESS METADATA DOCUMENTS
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pymongo
import scrapy
from scrapy.crawler import CrawlerProcess

from bench.measuring import Stint
from bench.rows import Rows

PAGE = 250
LANES = 16  # as many requests side by side as Scrapy is made for; its default of 8 a domain protects strangers' servers
BATCH = 1000
SETTINGS = {
    "ITEM_PIPELINES": {"bench.scrapy_spider.RowPipeline": 100, "bench.scrapy_spider.DocumentPipeline": 200},
    "CONCURRENT_REQUESTS": LANES,
    "CONCURRENT_REQUESTS_PER_DOMAIN": LANES,
    "COOKIES_ENABLED": False,
    "LOG_LEVEL": "WARNING",
    "LOGSTATS_INTERVAL": 0,
    "TELNETCONSOLE_ENABLED": False,
}


class Cases(scrapy.Spider):
    name = "cases"

    def __init__(self, address: str, metadata: str, documents: str) -> None:
        super().__init__()
        self.address, self.metadata, self.documents = address, metadata, documents

    async def start(self) -> AsyncIterator[scrapy.Request]:
        for number in range(LANES):
            yield self._page(number * PAGE)

    def _page(self, offset: int) -> scrapy.Request:
        url = f"{self.address}/index.php?/api/v2/get_cases/1&suite_id=1&limit={PAGE}&offset={offset}"
        return scrapy.Request(url, cb_kwargs={"offset": offset}, dont_filter=True)

    def parse(self, response: Any, offset: int) -> Iterator[Any]:
        cases = orjson.loads(response.body)["cases"]
        if cases:
            yield self._page(offset + LANES * PAGE)
        yield from cases


class Batched:
    """A pipeline that writes many items at once, in a thread; the next ones gather meanwhile."""

    def __init__(self, spider: Cases) -> None:
        self._items: list[dict[str, Any]] = []
        self._turn = asyncio.Lock()

    @classmethod
    def from_crawler(cls, crawler: Any) -> "Batched":
        return cls(crawler.spider)

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self._items.append(item)
        if len(self._items) >= BATCH:
            await self._flush()
        return item

    async def close_spider(self) -> None:
        await self._flush()

    async def _flush(self) -> None:
        items, self._items = self._items, []
        async with self._turn:
            if items:
                await asyncio.to_thread(self.write, items)


class RowPipeline(Batched):
    def __init__(self, spider: Cases) -> None:
        super().__init__(spider)
        self.write = Rows(spider.metadata).write


class DocumentPipeline(Batched):
    def __init__(self, spider: Cases) -> None:
        super().__init__(spider)
        self._collection = pymongo.MongoClient(spider.documents).get_default_database()["perf_case"]

    def write(self, items: list[dict[str, Any]]) -> None:
        changes = [pymongo.ReplaceOne({"_id": item["id"]}, item, upsert=True) for item in items]
        self._collection.bulk_write(changes, ordered=False)


def main(address: str, metadata: str, documents: str, *_: str) -> None:
    process, stint = CrawlerProcess(SETTINGS), Stint()
    crawler = process.create_crawler(Cases)
    process.crawl(crawler, address=address, metadata=metadata, documents=documents)
    process.start()
    records = crawler.stats.get_value("item_scraped_count")
    print(json.dumps({"records": records, "seconds": stint.seconds(), "processes": {"scrapy": stint.process()}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
