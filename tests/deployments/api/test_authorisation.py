"""Nobody is let in who should not be: every route there is, every kind of key, what is one's own and what is not.

COLLECT_AUTHZ says how many requests at random are made that have to be refused.
"""

import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from blocks.process import this_process
from blocks.settings import Serving, Settings
from blocks.sql.keys import Role
from blocks.sql.tables import catalog as tables
from collectors.models import Collection, ShardPlan
from collectors.states import RunState
from deployments.api.application import application
from deployments.api.guard import NEEDED, Guarded

ROOT = Path(__file__).parents[3]
REQUESTS = int(os.environ.get("COLLECT_AUTHZ", "2000"))
OURS, THEIRS, NOBODYS = "default", "acme", "nobody"
SECRET = {OURS: "seen-by-ours-alone", THEIRS: "seen-by-theirs-alone"}
DOCUMENTS = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
PLACE = re.compile(r"{(\w+)[^}]*}")
LISTED = re.compile(r"`(\w+ /[^`]+)`")
COLUMNS = sorted({column.name for table in tables.sorted_tables for column in table.c})
# Whoever names what is not there with these makes it, as their own.
MAKING = {"register"}
OF_RECORDS = {"history", "diff"}
SOURCE = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "u", "api_key": "env:COLLECT_SECRET_KEY"}
DEFINITION = {"collector": "testrail", "source": SOURCE, "schedule": [{"slug": "nightly", "cron": "0 2 * * *"}]}
DAY = 24 * 3600 * 1_000_000
pytestmark = pytest.mark.timeout(0)


class Route(NamedTuple):
    method: str
    path: str
    name: str

    @property
    def has_ids(self) -> bool:
        return "{" in self.path

    @property
    def written(self) -> str:
        """The path as OpenAPI has it."""
        return PLACE.sub(r"{\1}", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.written}"


def needed(route: Route) -> Role | None:
    return NEEDED.get(route.name, Role.ADMIN)


def other_than(tenant: str) -> str:
    return THEIRS if tenant == OURS else OURS


class Credential(NamedTuple):
    """`tenant` and `role` of a valid one."""

    header: str | None
    tenant: str | None = None
    role: Role | None = None

    def is_enough_for(self, route: Route) -> bool:
        role = needed(route)
        return role is None or (self.role is not None and self.role >= role)


def found(router: Any) -> Iterator[Any]:
    """All routes, also those of routers within."""
    for each in router.routes:
        within = getattr(each, "original_router", None)
        yield from found(within) if within else [each]


def app_of(home: Path) -> Any:
    return application(Settings(home, None), Serving(requests_per_second=1e12))


APP = app_of(Path("nowhere"))
ROUTES = sorted(
    Route(method, each.path, each.name) for each in found(APP) if isinstance(each, APIRoute) for method in each.methods
)
OPERATIONS = APP.openapi()


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_is_guarded_and_stands_in_the_table(route):
    (each,) = (each for each in found(APP) if each.name == route.name)
    assert type(each) is Guarded
    assert route.name in NEEDED


def test_nothing_else_is_answered_but_what_it_says_of_itself():
    assert {each.path for each in found(APP) if not isinstance(each, APIRoute)} == DOCUMENTS
    told = {f"{method.upper()} {path}" for path, methods in OPERATIONS["paths"].items() for method in methods}
    assert {str(route) for route in ROUTES} == told


def test_the_page_shows_the_table():
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    _, _, rows = text.partition("| role | requests |\n|---|---|\n")
    cells = [row.split("|")[1:3] for row in rows.partition("\n\n")[0].splitlines()]
    written = {request: role.strip() for role, requests in cells for request in LISTED.findall(requests)}
    roles = {str(route): needed(route) for route in ROUTES}
    assert written == {request: role.name.lower() if role else "–" for request, role in roles.items()}


# ---- a world of two tenants ---------------------------------------------------------------------------------


class World:
    """What each tenant has, keys of every kind, and all that is kept."""

    def __init__(self, api: Any, home: Path, alter: Callable[..., int]) -> None:
        self.home, self._keys = home, api.storage.keys
        self.places = {tenant: _filled(api, tenant) for tenant in (OURS, THEIRS)}
        self.places[NOBODYS] = {"run": "00000000", "name": "made-up.tests", "id": "made-up"}
        self.invalid = self._invalid(lambda *values: alter(api.storage.catalog._database, *values))
        self.valid = [
            Credential(f"Bearer {self._keys.create(tenant, role, '', 1)[0]}", tenant, role)
            for tenant in (OURS, THEIRS)
            for role in Role
        ]

    def _invalid(self, alter: Callable[..., int]) -> list[Credential]:
        (expired, expired_id), (revoked, revoked_id), (other, _) = (
            self._keys.create(OURS, Role.ADMIN, "", 1) for _ in range(3)
        )
        alter("UPDATE api_key SET expires_at = expires_at - ? WHERE key_id = ?", 2 * DAY, expired_id)
        self._keys.revoke(revoked_id)
        mixed = "_".join([*expired.split("_")[:2], other.split("_", 2)[2]])
        unknown = [f"pck_{'0' * 12}_{'x' * 43}", expired, revoked, mixed, other[:-1], other.upper(), "x" * 5_000]
        headers = ["", "Bearer", "Bearer ", "Basic eDp4", other, f"Bearer  {other}", f"Token {other}", "Bearer é\udcff"]
        return [Credential(each) for each in (None, *headers, *(f"Bearer {key}" for key in unknown))]

    def kept(self) -> dict[str, list[Any]]:
        rows = {}
        for file in ("collect.db", "documents.db"):
            with closing(sqlite3.connect(self.home / file)) as connection:
                stored = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'"
                for (name,) in connection.execute(stored).fetchall():
                    rows[f"{file}/{name}"] = sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr)
        return rows

    @asynccontextmanager
    async def asked(self) -> Any:
        """A client of the application in this process."""
        app = app_of(self.home)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def _filled(api: Any, tenant: str) -> dict[str, str]:
    """A run that is paused, and a collection with a record, whose every text says whose it is."""
    told = SECRET[tenant]
    api.imported([{"kind": "case", "id": told, "name": told, "content": {"steps": [told]}}], tenant, collection=told)
    definition = Collection.model_validate({"name": f"{told}.tests", "tenant": tenant, **DEFINITION})
    api.storage.registry.register(definition)
    catalog = api.storage.catalog
    claim = catalog.lead(catalog.begin(definition, this_process(), definition).run_id, this_process())
    plans = [ShardPlan(shard_id=f"s0{n}", stage="cases", label=told, span={}, estimate=1) for n in (1, 2)]
    catalog.save_plan(claim, plans, 1.0)
    catalog.end(claim, RunState.PAUSED)
    return {"run": claim.run_id, "name": definition.name, "id": told}


@pytest.fixture
def world(api, tmp_path, alter):
    return World(api, tmp_path / "home", alter)


def address(route: Route, places: dict[str, str]) -> str:
    filled = {"kind": "case", "shard": "s01", "slug": "nightly"} | places
    if route.name in OF_RECORDS:
        filled["name"] = places["id"]
    return PLACE.sub(lambda place: filled.get(place[1], "1"), route.path)


def operation(route: Route) -> dict[str, Any]:
    return OPERATIONS["paths"][route.written][route.method.lower()]


def example(route: Route) -> Any:
    """A body that the route takes, as its description has it."""
    content = operation(route).get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    if "examples" in content:
        return next(iter(content["examples"].values()))["value"]
    references = re.findall(r"#/components/schemas/([^\"]+)", orjson.dumps(content).decode())
    examples = OPERATIONS["components"]["schemas"][references[0]].get("examples")
    return examples[0] if examples else DEFINITION


def needed_query(route: Route, places: dict[str, str]) -> dict[str, str]:
    taken = [each for each in operation(route).get("parameters", ()) if each["in"] == "query"]
    wanted = [each["name"] for each in taken if each["required"]]
    return {name: places["run"] if name == "from" else places["id"] for name in wanted}


def headers_of(credential: Credential) -> dict[str, bytes]:
    return {} if credential.header is None else {"Authorization": credential.header.encode(errors="replace")}


def request_of(route: Route, credential: Credential, places: dict[str, str]) -> dict[str, Any]:
    sent = {"params": needed_query(route, places), "headers": headers_of(credential)}
    body = example(route)
    return sent | {"method": route.method, "url": address(route, places)} | ({} if body is None else {"json": body})


# ---- every route and every key ------------------------------------------------------------------------------


async def test_who_may_not_is_refused_and_changes_nothing(world):
    before = world.kept()
    async with world.asked() as client:
        for route in (route for route in ROUTES if needed(route)):
            for credential in (*world.invalid, *world.valid):
                for places in () if credential.is_enough_for(route) else world.places.values():
                    answer = await client.request(**request_of(route, credential, places))
                    expected = 401 if credential.role is None else 403
                    assert answer.status_code == expected, f"{route} {credential}: {answer.text}"
                    assert not any(secret in answer.text for secret in SECRET.values())
            assert world.kept() == before, route


async def test_what_is_another_tenants_is_answered_as_what_is_not_there(world):
    before = world.kept()
    async with world.asked() as client:
        for route in (route for route in ROUTES if route.has_ids and route.name not in MAKING):
            for credential in (each for each in world.valid if each.is_enough_for(route)):
                theirs, nobodys = [
                    await _not_there(client, route, credential, world.places[whose])
                    for whose in (other_than(credential.tenant), NOBODYS)
                ]
                assert theirs == nobodys
            assert world.kept() == before, route


async def _not_there(client: httpx.AsyncClient, route: Route, credential: Credential, places: dict[str, str]) -> str:
    """The answer, without the names that were asked for."""
    answer = await client.request(**request_of(route, credential, places))
    assert answer.status_code == 404, f"{route} {credential}: {answer.text}"
    return re.sub("|".join(map(re.escape, sorted(places.values(), key=len, reverse=True))), "ID", answer.text)


async def test_what_is_made_under_anothers_name_is_ones_own(world, api):
    theirs = world.places[THEIRS]["name"]
    before = api.storage.registry.versions(THEIRS, theirs)
    async with world.asked() as client:
        for route in (route for route in ROUTES if route.name in MAKING):
            for credential in (each for each in world.valid if each.tenant == OURS and each.is_enough_for(route)):
                answer = await client.request(**request_of(route, credential, world.places[THEIRS]))
                assert answer.status_code < 500, answer.text
    assert api.storage.registry.versions(THEIRS, theirs) == before


async def test_who_may_is_let_in_and_sees_nothing_of_others(world):
    async with world.asked() as client:
        for route in sorted(ROUTES, key=lambda route: route.method == "DELETE"):
            for credential in (each for each in world.valid if each.is_enough_for(route)):
                answer = await client.request(**request_of(route, credential, world.places[credential.tenant]))
                assert answer.status_code not in (401, 403), f"{route} {credential}: {answer.text}"
                assert answer.status_code < 500
                assert SECRET[other_than(credential.tenant)] not in answer.text


async def test_a_route_that_stands_in_no_table_is_for_admins(world):
    router = APIRouter(route_class=Guarded)
    router.add_api_route("/api/made-up", lambda: {"told": "all"}, name="made_up")
    app = app_of(world.home)
    app.include_router(router)
    async with app.router.lifespan_context(app), client_of(app) as client:
        for each in (*world.invalid, *world.valid):
            answer = await client.get("/api/made-up", headers=headers_of(each))
            assert answer.status_code == (401 if each.role is None else 200 if each.role is Role.ADMIN else 403)


# ---- at random ----------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """`expected`: the statuses it may be answered with; `hidden`: what the answer must not hold."""

    request: dict[str, Any]
    expected: tuple[int, ...]
    hidden: tuple[str, ...]


def drawn(world: World, dice: random.Random) -> Drawn:
    """A request that has to be refused."""
    while True:
        route, method = dice.choice(ROUTES), dice.choice(METHODS)
        method = route.method if dice.random() < 0.9 else method
        credential = dice.choice([dice.choice(world.invalid), *world.valid])
        places = dice.choice([*world.places.values()])
        own = credential.tenant is not None and places is world.places[credential.tenant]
        if expected := _expected(route, method, credential, own):
            request = request_of(route, credential, places) | {"method": method} | _altered(world, route, dice)
            hidden = [secret for tenant, secret in SECRET.items() if tenant != credential.tenant]
            return Drawn(request, expected, tuple(each for each in hidden if each not in repr(request)))


def _expected(route: Route, method: str, credential: Credential, own: bool) -> tuple[int, ...]:
    if method != route.method:
        at_the_same = {each.method for each in ROUTES if PLACE.sub("", each.path) == PLACE.sub("", route.path)}
        caught = method == "GET" and route.path.startswith("/api/testcase/")  # by the one that takes any id
        return () if caught or method in at_the_same else (405,)
    if not credential.is_enough_for(route):
        return (401,) if credential.role is None else (403,)
    foreign = route.has_ids and not own and needed(route) is not None and route.name not in MAKING
    return (400, 404, 409, 413, 415, 422) if foreign else ()


def _altered(world: World, route: Route, dice: random.Random) -> dict[str, Any]:
    """A body that says more than it may, or nothing that can be read; and ids of others where the query takes any."""
    texts = [*SECRET.values(), *(place["run"] for place in world.places.values()), OURS, THEIRS, "COMPLETED", 1, None]
    more = {dice.choice(COLUMNS): dice.choice(texts) for _ in range(dice.randrange(4))}
    body = example(route)
    if dice.random() < 0.1:
        return {"json": None, "content": dice.choice([b"{broken", b"\xff", b"[" * 100_000, b"x" * 70_000])}
    changed: dict[str, Any] = {"json": body | more} if isinstance(body, dict) else {"json": more} if more else {}
    known = [each["name"] for each in operation(route).get("parameters", ()) if each["in"] == "query"]
    if known and dice.random() < 0.3:
        changed["params"] = {name: str(dice.choice(texts)) for name in dice.sample(known, dice.randint(1, len(known)))}
    return changed


async def test_no_request_at_random_is_let_in(world):
    dice, before = random.Random(REQUESTS), world.kept()
    let_in, statuses = [], set[int]()
    async with world.asked() as client:
        for _ in range(REQUESTS):
            asked = drawn(world, dice)
            answer = await client.request(**asked.request)
            statuses.add(answer.status_code)
            if answer.status_code not in asked.expected or any(each in answer.text for each in asked.hidden):
                let_in.append((asked.request, answer.status_code, answer.text[:300]))
    assert let_in == []
    assert world.kept() == before
    assert {401, 403, 404, 405} <= statuses
