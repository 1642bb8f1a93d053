"""What commands print: data on stdout, talk on stderr; columns on a terminal, tabs in a pipe, JSON when asked."""

import logging
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from rich.cells import cell_len, set_cell_size

from collectors.language import spoken

STATE_COLOURS = {
    "COMPLETED": "32", "RUNNING": "36", "FAILED": "31", "PARTIALLY_COMPLETED": "33", "PAUSED": "33", "RETRYING": "33",
    "PAUSING": "33", "RESUMING": "36", "CANCELLING": "31", "CANCELLED": "31",
}  # fmt: skip


DIM = "2"
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
NARROWEST = 12
NAME = 11  # columns of a field's name
FIELD = 14  # columns before the text of an indented field


def visible(text: str) -> str:
    r"""`text` on one line, with what steers a terminal or is not seen written out: `\n`, `\x1b`, `\u202e`.

    For everything that is printed for people; JSON and exports stay exact.
    """
    if text.isprintable():
        return text
    return "".join(_written(each) if unicodedata.category(each) in HIDDEN else each for each in text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode()


def say(text: str, /, **facts: Any) -> None:
    """Talk: a line on stderr, in the user's language, filled with `facts`."""
    print(visible(spoken(text, **facts)), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Data: a line on stdout."""
    print(visible(text))


def show_field(name: str, text: str, indent: str = "  ") -> None:
    """Data: a line on stdout that begins with its name, in the user's language."""
    show(f"{indent}{_padded(spoken(name), NAME)} {text}")


def show_warnings() -> None:
    """Say what a source makes us wait for, and the like; the flow's own log goes to Prefect."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Visible())
    for room in ("collectors", "blocks", "deployments"):
        logging.getLogger(room).addHandler(handler)
    logging.getLogger("stamina").addHandler(logging.NullHandler())  # it would say the same, in other words


class _Visible(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return visible(record.getMessage())


def print_json(value: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.flush()


def print_rows(
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, str | Callable[[dict[str, Any]], Any]],
    json: bool = False,
    whole: bool = False,
) -> None:
    """Whole as JSON, or as columns: each a header with the key it shows, or with what makes a cell of a row.

    `whole`: the last column is not cut on a terminal, since it is what is looked for.
    """
    if json:
        print_json(rows)
        return
    print_columns(
        list(columns),
        [[row[shown] if isinstance(shown, str) else shown(row) for shown in columns.values()] for row in rows],
        whole,
    )


def print_columns(header: Sequence[str], rows: Sequence[Sequence[Any]], whole: bool = False) -> None:
    """Aligned with a header on a terminal, where the last column may be cut; tab-separated without one in a pipe.

    The header is said in the user's language.
    """
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_cell(cell) for cell in row))
        return
    if not rows:
        return
    texts = [[_cell(cell, ",") for cell in row] for row in rows]
    headings = [spoken(each) for each in header]
    widths = [max(cell_len(row[column]) for row in [headings, *texts]) for column in range(len(header))]
    room = max(NARROWEST, shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths[:-1]))
    lines = []
    for row in [headings, *texts]:
        shown = row if whole else [*row[:-1], shortened(row[-1], room)]
        lines.append("  ".join(_padded(cell, width) for cell, width in zip(shown, widths, strict=True)).rstrip())
    print(coloured(lines[0], DIM), *lines[1:], sep="\n")


def _cell(cell: Any, grouped: str = "") -> str:
    if cell is None:
        return ""
    return visible(f"{cell:{grouped}}" if type(cell) is int else str(cell))


def shortened(cell: str, room: int) -> str:
    """Cut to `room` columns of a terminal, of which a Chinese character takes two."""
    return cell if cell_len(cell) <= room else set_cell_size(cell, room - 1).rstrip() + "…"


def _padded(cell: str, width: int) -> str:
    padding = " " * (width - cell_len(cell))
    return coloured(cell, STATE_COLOURS[cell]) + padding if cell in STATE_COLOURS else cell + padding


def coloured(text: str, code: str) -> str:
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def counted(current: int, total: int | None) -> str:
    return f"{current:,}" if total is None else f"{current:,}/{total:,}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"
