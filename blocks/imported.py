"""Collecting what was sent: the lines of an import, read from the spool like the pages of any source.

A line of the spool is its number, a sign and a text: a blank before JSON as it was sent, `!` before the reason why it
was refused already.
"""

import re
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from anyio import to_thread

from blocks.sql.spool import ALL, Spool
from collectors import nodes
from collectors.errors import Misconfigured, Rejected
from collectors.exact_json import Flawed
from collectors.models import Json, Keys, Page, Record, Stage

LONGEST_SHOWN = 2_000  # bytes of a line that cannot be read
STAGES = ("directories", "cases")  # so that what hangs below a directory finds it
LINES, BYTES = 1_000, 2**20  # of one part, which is a page when it is read
FAST = 1
# How most lines begin; a kind that is said twice is refused when it is read.
BEGIN = re.compile(rb'\s*\{\s*"kind"\s*:\s*"(directory|case)"')


class Parts:
    """Takes lines in and writes them into the spool, a part of one stage at a time."""

    def __init__(self, spool: Spool, run_id: str) -> None:
        self._spool, self._run_id = spool, run_id
        self._filling: dict[str, list[bytes]] = {stage: [] for stage in STAGES}
        self._bytes, self._written, self._lines = Counter[str](), Counter[str](), 0

    def add(self, number: int, text: bytes, why: Rejected | None = None) -> None:
        """A line as it was sent, or one that was refused already."""
        stage = _stage(text)
        self._lines += 1
        filling = self._filling[stage]
        filling.append(_as_refused(number, text, why) if why else b"%d %s" % (number, text))
        self._bytes[stage] += len(filling[-1])
        if len(filling) == LINES or self._bytes[stage] > BYTES:
            self._write(stage)

    def end(self) -> None:
        for stage in STAGES:
            if self._filling[stage]:
                self._write(stage)
        self._spool.add(self._run_id, ALL, 0, self._lines, b"")

    def _write(self, stage: str) -> None:
        lines = self._filling[stage]
        content = zlib.compress(b"\n".join(lines), FAST)
        self._spool.add(self._run_id, stage, self._written[stage], len(lines), content)
        self._written[stage] += 1
        self._filling[stage], self._bytes[stage] = [], 0


class Imported:
    """The lines of one run, in the order they came; directories first."""

    def __init__(self, spool: Spool, run_id: str) -> None:
        self._spool, self._run_id = spool, run_id

    async def survey(self) -> Sequence[Stage]:
        if not await to_thread.run_sync(self._spool.whole, self._run_id):
            raise self._not_kept()
        sizes = await to_thread.run_sync(self._spool.sizes, self._run_id)
        return [Stage(name=stage, extent=Keys(weights=sizes[stage])) for stage in STAGES if stage in sizes]

    async def fetch(self, stage: str, span: dict[str, Any], cursor: Json) -> Page:
        parts = span["keys"]
        at = 0 if cursor is None else int(cursor)
        content = await to_thread.run_sync(self._spool.read, self._run_id, stage, parts[at])
        if content is None:
            raise self._not_kept()
        items = await to_thread.run_sync(_items, content)
        return Page(items, at + 1 if at + 1 < len(parts) else None)

    def _not_kept(self) -> Misconfigured:
        return Misconfigured(
            "what run {run} is to import is not kept any more",
            "Send it again: POST /api/testcase/import",
            code="COL-0267",
            run=self._run_id,
        )

    def map(self, stage: str, item: Any) -> Record:
        return nodes.record(item["node"])


def _stage(text: bytes) -> str:
    """Where a line belongs by its kind, exactly: of two with one id the later one has to be read later."""
    text = text.removeprefix(BOM_UTF8)
    if begin := BEGIN.match(text):
        kind = begin[1].decode()
    else:
        try:
            value = orjson.loads(text)
        except ValueError:
            value = None
        kind = value.get("kind") if isinstance(value, dict) else None
    return STAGES[0] if kind == "directory" else STAGES[1]


def _as_refused(number: int, text: bytes, why: Rejected) -> bytes:
    return b"%d!%s" % (number, orjson.dumps([why.reason, why.code, why.what, why.record_id, _shown(text)]))


def _shown(text: bytes) -> str:
    return text[:LONGEST_SHOWN].decode(errors="replace")


def _items(content: bytes) -> list[dict[str, Any]]:
    return [_item(line) for line in zlib.decompress(content).split(b"\n")]


def _item(line: bytes) -> dict[str, Any]:
    digits = len(line) - len(line.lstrip(b"0123456789"))
    number, sign, text = int(line[:digits]), line[digits : digits + 1], line[digits + 1 :]
    if sign == b"!":
        reason, code, what, record_id, shown = orjson.loads(text)
        return _flawed(number, shown, Rejected(reason, "{what}", record_id, code=code, what=what))
    try:
        return {"line": number, "node": nodes.decoded_one(text)}
    except ValueError as error:
        why = Rejected("no-json", "line {line} is no JSON: {why}", code="COL-0518", line=number, why=error)
        return _flawed(number, _shown(text), why)


def _flawed(number: int, shown: str, why: Rejected) -> Flawed:
    found = Flawed(line=number, node=shown)
    found.why = why
    return found
