"""The service: what it answers, put together."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.live import Live
from blocks.settings import Serving, Settings
from blocks.stores import open_storage
from collectors.language import LANGUAGE
from deployments.api import audit, config, control, marks, past, problems, registry, runs, shapes, testcases
from deployments.api.answers import answer
from deployments.api.guard import Guard, Guarded
from deployments.api.past_trees import PastTrees
from deployments.api.watching import Watch

KEY = HTTPBearer(auto_error=False, description="a key of: collect keys create")

open_router = APIRouter(prefix="/api", tags=["service"], route_class=Guarded)


@open_router.get("/health", responses=shapes.open_to_all(shapes.Health))
async def health(request: Request) -> Response:
    """Whether it is well: the stores, the queue, Prefect. 503 while nothing can be read."""
    found = await request.app.state.watch.health()
    if found["status"] == "down":
        return Response(orjson.dumps(found), 503, media_type="application/json")
    return answer(request, found)


ROUTERS = tuple(each.router for each in (testcases, runs, registry, control, marks, config, past, audit))


def _rate(live: Live, tenant: str, otherwise: float) -> float:
    return live.of("api_requests_per_second", tenant, "", otherwise)


class InTheirLanguage:
    """Speaks Chinese to who asks for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            wanted = Headers(scope=scope).get("accept-language", "")
            LANGUAGE.set("zh" if wanted.lower().startswith("zh") else "en")
        await self._app(scope, receive, send)


def application(settings: Settings, service: Serving, ready: Callable[[], None] = lambda: None) -> FastAPI:
    """`ready` is called when it is about to answer."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        with open_storage(settings) as storage:
            app.state.service, app.state.storage = service, storage
            live = Live(storage.config)
            app.state.guard = Guard(storage.keys.caller, service.requests_per_second, partial(_rate, live))
            app.state.watch = Watch(settings, storage)
            app.state.past_trees = PastTrees()
            async with live.listening(), app.state.watch.watching():
                ready()
                yield

    app = FastAPI(
        title="platform-collect",
        version=version("platform-collect"),
        description="Import test cases, read them, and see to the runs that collect them.",
        lifespan=running,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(KEY)])
    app.include_router(open_router)
    problems.install(app)
    app.add_middleware(InTheirLanguage)
    document = app.openapi
    app.openapi = lambda: shapes.completed(document())
    return app
