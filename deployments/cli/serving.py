"""`up`, `down`, `sample`: what is started for trying things and for running them on one machine."""

import sys
from typing import Annotated

from cyclopts import Parameter

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Refused
from collectors.language import spoken
from deployments import prefect_server
from deployments.cli.output import say, show

SHOWN = Parameter(show_default=True)


def up(*, port: int | None = None) -> int:
    """Start this folder's Prefect server; it stays until collect down.

    Examples
        $ collect up
        $ collect up --port 4300

    Parameters
    ----------
    port
        where it listens, when that is free, else another; 4200 when left out
    """
    settings = Settings.load()
    before = prefect_server.running(settings)
    if not before:
        say("starting the Prefect server …")
    api = prefect_server.up(settings, port)
    text = "Prefect server runs already: {ui}" if before else "Prefect server started: {ui}"
    show(spoken(text, ui=prefect_server.ui(api)))
    say("for Prefect's own commands: export PREFECT_API_URL={api}", api=api)
    say("end it with: collect down")
    return 0


def down(*, force: bool = False) -> int:
    """End this folder's Prefect server; refused while a run is under way.

    Examples
        $ collect down
        $ collect down --force

    Parameters
    ----------
    force
        end it under a run, too: the run pauses, and can be resumed
    """
    settings = Settings.load()
    if not force and prefect_server.running(settings):
        _refuse_under_a_run(settings)
    ended = prefect_server.down(settings)
    show(spoken("Prefect server ended" if ended else "no Prefect server runs for this folder"))
    return 0


def _refuse_under_a_run(settings: Settings) -> None:
    with open_storage(settings) as storage:
        alive = storage.catalog.under_way()
    if alive:
        raise Refused(
            "run {run} is under way, and needs the Prefect server",
            "Let it end (collect status {run}) or stop it with Ctrl-C; or end the server at once: collect down --force",
            code="COL-0406",
            run=alive[0],
        )


def sample(
    *,
    port: Annotated[int, SHOWN] = 8765,
    cases: Annotated[int, SHOWN] = 20_000,
    directories: Annotated[int, SHOWN] = 800,
    seed: Annotated[int, SHOWN] = 1,
    damaged: int = 0,
    latency: float = 0.0,
    error_rate: float = 0.0,
    rate_limit: int = 0,
    page_size: Annotated[int, SHOWN] = 250,
    api_key: str = "",
) -> int:
    """Serve a made-up test-management system that speaks TestRail's API, until Ctrl-C.

    Examples
        $ collect sample
        $ collect sample --port 0 --cases 2000 --error-rate 0.01

    Parameters
    ----------
    port
        where it listens on 127.0.0.1; 0 takes any free one
    cases
        number of test cases
    directories
        number of directories, nested to ten levels
    seed
        the same seed and numbers give the same tree
    damaged
        cases without a title, to see what becomes of records that are refused
    latency
        seconds before each answer
    error_rate
        share of requests that fail with a 500, such as 0.01
    rate_limit
        requests a minute, above it 429 with Retry-After; 0 is unlimited
    page_size
        the most records one page holds
    api_key
        the only password that is let in; any is when left empty
    """
    from collectors.testing.sample import Settings as Sample
    from collectors.testing.sample import serve

    serve(
        Sample(
            port=port,
            cases=cases,
            directories=directories,
            seed=seed,
            damaged=damaged,
            latency=latency,
            error_rate=error_rate,
            rate_limit=rate_limit,
            page_size=page_size,
            api_key=api_key,
        )
    )
    sys.stdout.flush()
    return 0
