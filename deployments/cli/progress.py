"""How a run shows that it moves: a bar on a terminal, a plain line now and then elsewhere. Always on stderr."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from blocks.reports import Report
from collectors.language import spoken
from collectors.states import PAUSING
from deployments.cli.output import counted, duration, say, visible

RESTING = ("PAUSED", "CANCELLED")
SECONDS_BETWEEN_LOOKS = 0.5
LOOKS_BETWEEN_LINES = 10


@contextmanager
def shown(look: Callable[[], Report]) -> Iterator[None]:
    """Show what `look` reports until the block is left."""
    ended = threading.Event()
    follow = _bar if sys.stderr.isatty() else _lines
    # In a copy of this context, because the language is in it.
    watcher = threading.Thread(target=copy_context().run, args=(follow, look, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _bar(look: Callable[[], Report], ended: threading.Event) -> None:
    columns = [TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.fields[text]}")]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=100, text=spoken("planning"))
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            now = look()
            bar.update(
                task,
                completed=now.percent,
                total=None if now.total is None else 100,
                description=visible(f"{now.run_id}  {now.collection}"),
                text=_text(now),
            )


def _lines(look: Callable[[], Report], ended: threading.Event) -> None:
    looks = 0
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        looks += 1
        if looks % LOOKS_BETWEEN_LINES == 1:
            now = look()
            say("{run}  {collection}  {text}", run=now.run_id, collection=now.collection, text=_text(now))


def _text(now: Report) -> str:
    if now.shown in (*RESTING, PAUSING):
        waits = now.waiting_for and spoken("waits for {what}", what=now.waiting_for)
        return "  ".join(filter(None, (_count(now), now.shown, waits)))
    if not now.shards:
        return spoken("planning")
    percent = "" if now.total is None else f"{now.percent:3.0f}%  "
    if not now.rate or now.phase == "ended":
        return f"{percent}{_count(now)}  {spoken(now.phase)}"
    rate = spoken("{rate:,.0f}/s", rate=now.rate)
    return f"{percent}{_count(now)}  {rate}  {spoken(now.phase)}{_left(now)}"


def _count(now: Report) -> str:
    return counted(now.records["fetched"], now.total)


def _left(now: Report) -> str:
    if now.total is None:
        return ""
    return "  " + spoken("{time} left", time=duration((now.total - now.records["fetched"]) / now.rate))
