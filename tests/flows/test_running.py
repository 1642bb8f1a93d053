"""How long a run waits for a Prefect server that does not answer."""

import time

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from collectors.errors import Unreachable
from collectors.testing.serving import served
from flows.running import SECONDS_WITHOUT_PREFECT, _Patience


@pytest.fixture
def busy():
    """A server that is well, and of which the database keeps everybody waiting."""

    async def health(_):
        return JSONResponse(True)

    with served(Starlette(routes=[Route("/api/health", health)])) as address:
        yield f"{address}/api"


async def asked_again(api, since):
    patience, request = _Patience("7f3a90c1"), httpx.Request("GET", f"{api}/flow_runs")
    with temporary_settings({PREFECT_API_URL: api}):
        await patience._asked(request)
        patience._silent_since = time.monotonic() - since
        await patience._asked(request)


@pytest.mark.anyio
async def test_a_server_that_is_only_busy_is_waited_for(busy):
    await asked_again(busy, SECONDS_WITHOUT_PREFECT + 1)


@pytest.mark.anyio
async def test_a_server_that_is_gone_is_not():
    await asked_again("http://127.0.0.1:9/api", SECONDS_WITHOUT_PREFECT / 2)
    with pytest.raises(Unreachable, match="COL-0701"):
        await asked_again("http://127.0.0.1:9/api", SECONDS_WITHOUT_PREFECT + 1)
