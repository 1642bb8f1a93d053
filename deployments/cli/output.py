"""What commands print: data on stdout, talk on stderr; columns on a terminal, tabs in a pipe, JSON when asked."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.cells import cell_len

from collectors.language import spoken

STATE_COLOURS = {
    "COMPLETED": "32", "RUNNING": "36", "FAILED": "31", "PARTIALLY_COMPLETED": "33", "PAUSED": "33", "RETRYING": "33",
}  # fmt: skip


def say(text: str, /, **facts: Any) -> None:
    """`text` in the user's language, filled with `facts`, beside the data."""
    print(spoken(text, **facts), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.flush()


def print_columns(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Aligned with a header on a terminal; tab-separated without one in a pipe, nothing cut in either."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            print("\t".join(row))
        return
    widths = [max(cell_len(row[column]) for row in [list(header), *texts]) for column in range(len(header))]
    for row in [list(header), *texts]:
        print("  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _padded(cell: str, width: int) -> str:
    padding = " " * (width - cell_len(cell))
    return coloured(cell, STATE_COLOURS[cell]) + padding if cell in STATE_COLOURS else cell + padding


def coloured(text: str, code: str) -> str:
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def moment(microseconds: int | None) -> str | None:
    """ISO 8601 in the local zone, with its offset."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000).astimezone().isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"
