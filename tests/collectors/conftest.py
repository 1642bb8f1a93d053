"""What the tests of the core share: real embedded stores, and real HTTP servers on this machine."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from blocks.settings import Settings
from blocks.sql.catalog import RunClaim
from blocks.sql.sqlite import SqliteDatabase
from blocks.sql.tables import RECORDS, SCHEMA
from blocks.sql.tables import batch as ledger
from blocks.sql.tables import catalog as tables
from blocks.stores import Storage, open_storage
from collectors.interfaces import Claim
from collectors.loading import Loader
from collectors.models import Batch, Collection, Document, Record, Retry, ShardPlan
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.testing import serving

QUICK = Retry(attempts=2, initial=0.001, maximum=0.01)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ---- stores ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", prefect_api_url=None)


@pytest.fixture
def storage(home: Settings) -> Iterator[Storage]:
    with open_storage(home) as opened:
        yield opened


@pytest.fixture
def database(storage: Storage, home: Settings) -> Iterator[SqliteDatabase]:
    """The catalog's file opened once more, as another process would."""
    opened = SqliteDatabase(home.database, tables, SCHEMA)
    yield opened
    opened.close()


@dataclass
class Shelf:
    """One collection of one tenant in the real stores: what goes in, and what is found there."""

    storage: Storage
    database: SqliteDatabase
    tenant: str
    collection: str

    def batch(
        self, *records: Record, observation: int, run: str | None = None, shard: str = "s01", page: str = "0.0"
    ) -> Batch:
        """Without `run` it belongs to the one run of this collection."""
        run_id = run or f"{self.tenant}:{self.collection}"
        return Batch(self.tenant, self.collection, run_id, shard, page, observation, records)

    def load(self, *records: Record, observation: int, **where: str) -> Batch:
        batch = self.batch(*records, observation=observation, **where)
        self.apply(batch)
        return batch

    def apply(self, batch: Batch) -> None:
        Loader(self.storage.rows, self.storage.documents, self.storage.cache).apply(batch)

    def rows(self, kind: str = "case") -> dict[str, dict[str, Any]]:
        """All rows of a kind, those of deleted records included."""
        table = RECORDS[kind]
        query = select(*(column.label(column.key) for column in table.c)).where(
            table.c.tenant == self.tenant, table.c.collection == self.collection
        )
        with self.database.read() as connection:
            return {row["id"]: dict(row) for row in connection.execute(query).mappings()}

    def document(self, id: str, kind: str = "case") -> Document | None:
        return self.storage.documents.read(self.tenant, self.collection, kind, [id]).get(id)

    def paths(self, kind: str = "case") -> dict[str, str | None]:
        """The path of every record; rows and documents have to agree on it."""
        rows = {id: row["path"] for id, row in self.rows(kind).items()}
        documents = self.storage.documents.read(self.tenant, self.collection, kind, list(rows))
        assert {id: document.path for id, document in documents.items()} == rows
        return rows

    def counts(self, batch: Batch) -> dict[str, int]:
        """What the ledger says a batch did."""
        with self.database.read() as connection:
            row = connection.execute(select(ledger).where(ledger.c.batch_id == batch.batch_id)).mappings().one()
        verdicts = ("new", "changed", "unchanged", "deleted", "superseded")
        return {verdict: row[verdict] for verdict in verdicts if row[verdict]}


@pytest.fixture
def shelves(storage: Storage, database: SqliteDatabase) -> Callable[..., Shelf]:
    """Makes shelves: each call another, empty one, in the same stores."""
    numbers = count(1)

    def shelf(tenant: str = "default", collection: str | None = None) -> Shelf:
        return Shelf(storage, database, tenant, collection or f"c{next(numbers)}")

    return shelf


@pytest.fixture
def shelf(shelves: Callable[..., Shelf]) -> Shelf:
    return shelves()


@dataclass(frozen=True)
class Begun:
    """A run with a plan, in the real catalog."""

    storage: Storage
    definition: Collection
    run: RunClaim

    @property
    def run_id(self) -> str:
        return self.run.run_id

    def claim(self, shard_id: str = "s01", owner: str = "me") -> Claim:
        return self.storage.shards.claim(self.run_id, shard_id, owner)

    def shard(self, shard_id: str = "s01") -> dict[str, Any]:
        return next(row for row in self.storage.catalog.shards(self.run_id) if row["shard_id"] == shard_id)

    def applied(self) -> dict[str, int]:
        verdicts = ("new", "changed", "unchanged", "deleted", "superseded")
        return {name: number for name, number in self.storage.catalog.applied(self.run_id).items() if name in verdicts}


@pytest.fixture
def begin(storage: Storage) -> Callable[..., Begun]:
    """Begins a run of a collection with shards that were never read."""

    def begun(name: str = "c", shards: int = 1, **strategy: Any) -> Begun:
        definition = Collection(name=name, collector="in-test", source={}, strategy=strategy)
        run = storage.catalog.lead(storage.catalog.begin(definition, "me").run_id, "me")
        plans = [
            ShardPlan(shard_id=f"s{number:02}", stage="cases", label="cases", span={}, estimate=0)
            for number in range(1, shards + 1)
        ]
        storage.catalog.save_plan(run, plans, 0.0)
        return Begun(storage, definition, run)

    return begun


# ---- servers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = bytes | Callable[[Asked], bytes]


@dataclass
class Scripted:
    """A server that plays raw answers in turn, the last one for ever, and remembers what it was asked."""

    answers: Sequence[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await self._read(reader)
            answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(asked)
            writer.write(answer(asked) if callable(answer) else answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(method, target, headers, body)


@asynccontextmanager
async def _scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    script = Scripted(answers)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield script


@pytest.fixture
def scripted() -> Callable[..., Any]:
    """`async with scripted(answer, ...) as server`: see Scripted. Each answer closes its connection."""
    return _scripted


def _reply(body: Any = None, status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """`body`: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": content_type, "Content-Length": str(len(content)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + content


@pytest.fixture
def reply() -> Callable[..., bytes]:
    return _reply


@pytest.fixture
def open_http() -> Callable[..., Http]:
    """Makes clients that try twice, with next to no pause."""
    return lambda base_url, pace=None, **options: Http(base_url, QUICK, pace or Pace(), **options)


@pytest.fixture
def served() -> Callable[[Any], Any]:
    """`with served(application) as url`: an ASGI application in a thread, on a port of its own."""
    return serving.served
