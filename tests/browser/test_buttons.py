"""Prefect's own page in a real browser: a placed shard is paused and resumed there. `make test-browser` runs it.

The pictures of docs/operate.md are taken on the way, when COLLECT_PICTURES names a folder.
"""

import os
from pathlib import Path

import pytest

from tests.pools import running_pool

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
CHROMIUM = "/usr/bin/chromium"
PATIENCE = 60_000  # milliseconds
TO_START = 90.0
DEFINITION = "strategy: {shard_size: 400, page_size: 10, concurrency: 2}\nplacement: pool\n"


@pytest.fixture
def page():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1200, "height": 560})
        opened.set_default_timeout(PATIENCE)
        yield opened
        browser.close()


@pytest.fixture
def pool(tmp_path, new_collect):
    with running_pool(tmp_path, new_collect) as found:
        yield found


def picture(page, name):
    if folder := os.environ.get("COLLECT_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def choose(page, action):
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name=action, exact=True).click()
    page.get_by_role("dialog").wait_for()


def test_a_placed_shard_is_paused_and_resumed_on_prefects_page(page, pool, sample, until):
    with sample("--cases", "800", "--directories", "3", "--page-size", "10", "--latency", "0.4") as slow:
        process = pool.collect.start("run", slow.collection(extra=DEFINITION), "--json")
        run = until(lambda: pool.collect.json("status"))[0]["run_id"]

        def shard():
            found = pool.collect.json("shards", run)
            return next((each for each in found if each["shard_id"] == "s03"), None)

        until(lambda: (found := shard()) and found["progress"]["current"], TO_START)
        flow_run = pool.named(f"{run}/s03")["id"]
        page.goto(f"{pool.api.removesuffix('/api')}/v2/runs/flow-run/{flow_run}")
        choose(page, "Pause")
        picture(page, "prefect-pause")
        page.get_by_role("dialog").get_by_role("button", name="Pause Flow Run").click()
        until(lambda: shard()["state"] == "PAUSED")
        assert shard()["reason"] == "paused in Prefect"
        page.get_by_text("Suspended").first.wait_for()
        picture(page, "prefect-paused")
        choose(page, "Resume")
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        until(lambda: shard()["state"] in ("RUNNING", "COMPLETED"))
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, out + err
        page.goto(f"{pool.api.removesuffix('/api')}/v2/runs/flow-run/{pool.collect.json('status', run)['flow_run_id']}")
        page.get_by_role("tab", name="Subflow Runs").click()
        page.get_by_text(f"{run}/s03").first.wait_for()
        picture(page, "prefect-run")
