"""What tests of the command share: a TestRail that answers what a test wants, and a folder that was collected into."""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from blocks.process import this_process
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.closing import outcome
from collectors.language import LANGUAGE
from collectors.models import Collection
from collectors.planning import plan
from collectors.reading import Reader
from collectors.registry import connected
from collectors.states import ShardState
from deployments.cli import main

DIRECTORIES = [{"id": 1, "name": "支付", "parent_id": None}]
CASES = [
    {"id": 1, "title": "付款", "section_id": 1, "updated_on": 1_700_000_000},
    {"title": "no id", "section_id": 1},
    {"id": 3, "section_id": 1},
    {"id": 4, "title": "退款", "section_id": 1},
    {"title": "no id either", "section_id": 1},
]


class TestRail(ThreadingHTTPServer):
    """A server that speaks TestRail's API. `headers` go with each answer; addresses like `broken` get 500, `said`."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.headers: dict[str, str] = {}
        self.broken, self.said = "nothing", {}
        self.asked = 0

    def definition(self, name: str = "cases", **strategy: Any) -> dict[str, Any]:
        source = {"base_url": self.url, "project_id": 1, "username": "reader", "api_key": "secret-key"}
        few = {"retry": {"attempts": 1}}
        return {"name": name, "collector": "testrail", "source": source, "strategy": few | strategy}


class _Answers(BaseHTTPRequestHandler):
    server: TestRail

    def do_GET(self) -> None:
        kind, items = ("sections", DIRECTORIES) if "get_sections" in self.path else ("cases", CASES)
        self.server.asked += 1
        broken = re.search(self.server.broken, self.path)
        found = {} if "get_" not in self.path else _page(self.path, kind, items)
        body = json.dumps(self.server.said if broken else found).encode()
        self.send_response_only(500 if broken else 200)
        for name, value in ({"Date": self.date_time_string()} | self.server.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _page(path: str, kind: str, items: list[Any]) -> dict[str, Any]:
    offset = int(path.rpartition("offset=")[2])
    limit = int(path.partition("limit=")[2].partition("&")[0])
    page, more = items[offset : offset + limit], offset + limit < len(items)
    following = f"/api/v2/get_{kind}/1&limit={limit}&offset={offset + limit}" if more else None
    return {"offset": offset, "limit": limit, "size": len(page), "_links": {"next": following}, kind: page}


@contextmanager
def served() -> Iterator[TestRail]:
    with TestRail() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def testrail() -> Iterator[TestRail]:
    with served() as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Writes a definition into a collection file."""

    def written(definition: dict[str, Any]) -> str:
        path = tmp_path / f"{definition['name']}.yaml"
        path.write_text(json.dumps(definition), encoding="utf-8")
        return str(path)

    return written


@dataclass
class Said:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command in this process, in an empty folder without a Prefect server: as it is started, but sooner."""
    for name in ("PREFECT_API_URL", "COLLECT_LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLLECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, exit_code: int = 0) -> Said:
        monkeypatch.setattr(sys, "argv", ["collect", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = Said(ended.value.code or 0, *capsys.readouterr())
        assert said.exit_code == exit_code, said
        return said

    token = LANGUAGE.set("en")  # the command sets it for its process, which here goes on
    yield run
    LANGUAGE.reset(token)


@pytest.fixture
def gathered() -> Callable[[Path, dict[str, Any]], str]:
    """Collects a definition into a folder as a run does, without Prefect; answers the run's id."""

    def collected(home: Path, values: dict[str, Any]) -> str:
        return anyio.run(_collected, Settings(home, None), Collection.model_validate(values))

    return collected


async def _collected(settings: Settings, definition: Collection) -> str:
    with open_storage(settings) as storage:
        catalog, strategy = storage.catalog, definition.strategy
        claim = catalog.lead(catalog.begin(definition, this_process(), definition).run_id, this_process())
        async with connected(definition, lambda name: None) as (collector, _):
            shards = plan(await collector.survey(), strategy)
            catalog.save_plan(claim, shards, 1.0)
            reader = Reader(definition, collector, storage.shards, storage.queue, 1.0)
            for shard in shards:
                await reader.read(storage.shards.claim(claim.run_id, shard.shard_id, this_process()))
        rows = catalog.shards(claim.run_id)
        stands = [(ShardState(row["state"]), row["error"]) for row in rows]
        counts = [sum(row[name] for row in rows) for name in ("fetched", "quarantined")]
        end = outcome(claim.run_id, stands, *counts, strategy)
        catalog.end(claim, end.state, end.error)
    return claim.run_id
