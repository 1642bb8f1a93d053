"""The service on embedded stores, answering over HTTP; runs are carried out when a test says so, without Prefect."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson
import pytest

from blocks.imported import Imported
from blocks.process import this_process
from blocks.settings import Serving, Settings
from blocks.sql.keys import Role
from blocks.stores import Storage, open_storage
from collectors.closing import outcome, repair_paths
from collectors.models import Collection
from collectors.planning import plan
from collectors.reading import Reader
from collectors.states import ShardState
from collectors.testing.serving import served
from deployments.api.application import application

NDJSON = {"Content-Type": "application/x-ndjson"}
TREE = [
    {"kind": "directory", "id": "1", "name": "支付", "children": [
        {"kind": "case", "id": "2", "name": "refund 退款", "content": {"steps": ["申请退款"]}, "metadata": {"p": 1}},
        {"kind": "directory", "id": "3", "name": "deep/er", "children": [
            {"kind": "case", "id": "a/b", "name": "leaf"},
        ]},
    ]},
]  # fmt: skip


class Api:
    """The running service; `as_` gives a client with a key of its own."""

    def __init__(self, url: str, storage: Storage) -> None:
        self.url, self.storage = url, storage
        self._clients: dict[tuple[str, str], httpx.Client] = {}
        self.anybody = httpx.Client(base_url=url, trust_env=False)

    def as_(self, role: str = "operator", tenant: str = "default") -> httpx.Client:
        if (role, tenant) not in self._clients:
            key, _ = self.storage.keys.create(tenant, Role[role.upper()], "test", 1)
            headers = {"Authorization": f"Bearer {key}"}
            self._clients[role, tenant] = httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60)
        return self._clients[role, tenant]

    def imported(self, body: Any, tenant: str = "default", **options: Any) -> str:
        """Imports nodes, or lines, and carries the run out; answers its id."""
        lines = isinstance(body, bytes)
        sent = {"content": body, "headers": NDJSON} if lines else {"json": body}
        answer = self.as_(tenant=tenant).post("/api/testcase/import", params=options, **sent)
        assert answer.status_code == 202, answer.text
        return self.carried_out(answer.json()["run_id"])

    def carried_out(self, run_id: str) -> str:
        assert self.storage.requests.take(this_process()) == run_id
        anyio.run(_carried_out, self.storage, run_id)
        return run_id

    def close(self) -> None:
        for each in (self.anybody, *self._clients.values()):
            each.close()


async def _carried_out(storage: Storage, run_id: str) -> None:
    catalog = storage.catalog
    definition = Collection.model_validate_json(catalog.run(run_id)["definition"])
    claim, collector = catalog.lead(run_id, this_process()), Imported(storage.spool, run_id)
    shards = plan(await collector.survey(), definition.strategy)
    catalog.save_plan(claim, shards, 1.0)
    reader = Reader(definition, collector, storage.shards, storage.queue, 1.0)
    for shard in shards:
        await reader.read(storage.shards.claim(run_id, shard.shard_id, this_process()))
    repair_paths(storage.rows, storage.documents, storage.cache, definition.tenant, definition.name)
    rows = catalog.shards(run_id)
    stands = [(ShardState(row["state"]), row["error"]) for row in rows]
    end = outcome(
        run_id, stands, *(sum(row[n] for row in rows) for n in ("fetched", "quarantined")), definition.strategy
    )
    catalog.end(claim, end.state, end.error)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Starts the service on a folder of its own, with the settings that are given."""
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        running: list[Any] = []

        def started(**settings: Any) -> Api:
            serving = served(application(Settings(tmp_path / "home", None), Serving(**settings)), lifespan="on")
            running.append((Api(serving.__enter__(), storage), serving))
            return running[-1][0]

        yield started
        for api, serving in running:
            api.close()
            serving.__exit__(None, None, None)


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()


@pytest.fixture
def tree() -> list[dict[str, Any]]:
    return orjson.loads(orjson.dumps(TREE))
