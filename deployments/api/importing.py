"""The body of an import on its way into the spool: a tree or a list as one JSON text, or a node a line."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import orjson
from anyio import CancelScope, to_thread
from fastapi import Request

from blocks.imported import Parts
from blocks.sql.spool import Spool
from collectors import nodes
from collectors.errors import Rejected
from deployments.api.guard import limited
from deployments.api.problems import HttpError

JSON, JSON_LINES = "application/json", ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
LARGEST_JSON = 64 * 2**20
LARGEST_LINES = 8 * 2**30
LONGEST_LINE = 4 * 2**20
MOST_NODES = 1_000_000  # of one JSON text
SECONDS_TO_SEND = 30 * 60  # less than what nobody has claimed is kept
MOST_TOLD = 100  # mistakes in one answer
BLOCK = 2**19  # bytes that are handled at once
Validate = Literal["whole", "records"]
Result = TypeVar("Result")


@dataclass(slots=True)
class Taken:
    """What came: how many nodes, and which of them were refused when all have to be right."""

    parts: Parts
    whole: bool
    nodes: int = 0
    mistakes: list[dict[str, Any]] = field(default_factory=list)
    wrong: int = 0

    def take(self, number: int, at: str, text: bytes, judge: Callable[[], Any] | None) -> None:
        """One node as it is to be kept; `judge` raises Rejected when it is none. Without, that is found out later."""
        self.nodes += 1
        why = _refused(text, judge)
        if why and self.whole:
            self.wrong += 1
            if len(self.mistakes) < MOST_TOLD:
                self.mistakes.append({"at": at, "code": why.code, "what": why.what})
        elif not self.wrong:
            self.parts.add(number, text, why)

    def end(self) -> None:
        """Raises HttpError when all had to be right, and some are not."""
        if not self.wrong:
            self.parts.end()
            return
        error = HttpError(
            "{wrong:,} nodes or more are wrong, and nothing was imported; the first: {first}",
            "Correct them, and send it again; with validate=records those that are right are imported.",
            status=422,
            code="COL-0808",
            wrong=self.wrong,
            first=f"{self.mistakes[0]['at']}: {self.mistakes[0]['what']}",
        )
        error.errors = self.mistakes
        raise error


def _refused(text: bytes, judge: Callable[[], Any] | None) -> Rejected | None:
    try:
        if len(text) > LONGEST_LINE:
            raise Rejected("too-large", "is longer than {most:,} bytes", code="COL-0520", most=LONGEST_LINE)
        if judge:
            judge()
    except Rejected as error:
        return error
    return None


@asynccontextmanager
async def nothing_left(spool: Spool, run_id: str) -> AsyncIterator[None]:
    """What is spooled meanwhile is dropped in the end, unless a run was made for it."""
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            yield
    except TimeoutError:
        raise HttpError(
            "the import was not sent within {minutes} minutes",
            "Send it faster, or in smaller parts.",
            status=408,
            code="COL-0812",
            minutes=SECONDS_TO_SEND // 60,
        ) from None
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(spool.drop_unclaimed, run_id)


async def spooled(request: Request, parts: Parts, validate: Validate | None) -> tuple[int, str]:
    """How many nodes the body has, and its fingerprint. Raises HttpError."""
    media, _, _ = request.headers.get("content-type", "").partition(";")
    kind = media.strip().lower()
    if kind == JSON:
        return await _json(request, Taken(parts, validate != "records"))
    if kind in JSON_LINES:
        return await _lines(request, Taken(parts, validate == "whole"))
    raise HttpError(
        "an import is {json} or {lines}, and not {kind}",
        "Send its Content-Type with it.",
        status=415,
        code="COL-0804",
        json=JSON,
        lines=JSON_LINES[0],
        kind=f"{kind!r:.60}",
    )


# ---- one JSON text ---------------------------------------------------------------------------------------


async def _json(request: Request, taken: Taken) -> tuple[int, str]:
    chunks = [chunk async for chunk in limited(request, LARGEST_JSON).stream()]
    fingerprint = await _in_thread(_take_tree, chunks, taken)
    return taken.nodes, fingerprint


def _take_tree(chunks: Sequence[bytes], taken: Taken) -> str:
    body = b"".join(chunks)
    try:
        top = nodes.decoded_one(body)
    except ValueError as error:
        raise HttpError(
            "the body is no JSON: {why}", "Send UTF-8.", status=400, code="COL-0811", why=f"{error!s:.200}"
        ) from None
    seen: set[tuple[Any, Any]] = set()
    for number, (pointer, value) in enumerate(nodes.flattened(top), 1):
        if number > MOST_NODES:
            raise _too_many_nodes()
        taken.take(number, pointer, _text(value), lambda value=value: _once(nodes.record(value), seen))
        if taken.wrong >= MOST_TOLD and taken.whole:
            break
    taken.end()
    return hashlib.sha256(body).hexdigest()


def _too_many_nodes() -> HttpError:
    return HttpError(
        "the body holds more than {most:,} nodes",
        "Send them as JSON lines (application/x-ndjson).",
        status=413,
        code="COL-0803",
        most=MOST_NODES,
    )


def _text(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # it is refused, and only shown
        return repr(value).encode(errors="replace")


def _once(record: Any, seen: set[tuple[Any, Any]]) -> None:
    if (record.kind, record.id) in seen:
        raise Rejected("repeated", "comes more than once", record.id, code="COL-0519")
    seen.add((record.kind, record.id))


# ---- a node a line ---------------------------------------------------------------------------------------


async def _lines(request: Request, taken: Taken) -> tuple[int, str]:
    """While a block is handled by a thread, the next one comes."""
    lines = Lines(taken)
    handled = asyncio.ensure_future(asyncio.sleep(0))
    try:
        async for block in _blocks(limited(request, LARGEST_LINES).stream()):
            await handled
            handled = asyncio.ensure_future(_in_thread(lines.feed, block))
    finally:
        await asyncio.wait({handled})
    await handled
    await _in_thread(lines.end)
    return taken.nodes, lines.digest.hexdigest()


async def _in_thread(call: Callable[..., Result], *arguments: Any) -> Result:
    """Waits for the thread even when it is cancelled: one that goes on would leave something behind."""
    work = asyncio.ensure_future(to_thread.run_sync(call, *arguments))
    try:
        return await asyncio.shield(work)
    finally:
        await asyncio.wait({work})


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A network's chunks are small, and a thread takes a moment to begin."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


class Lines:
    """Cuts what comes into lines; of one that is too long only as much is kept as shows that it is."""

    def __init__(self, taken: Taken) -> None:
        self.digest = hashlib.sha256()
        self._taken, self._number, self._rest = taken, 0, b""

    def feed(self, data: bytes) -> None:
        self.digest.update(data)
        *whole, rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._take(line)
        self._rest = rest[: LONGEST_LINE + 1]

    def end(self) -> None:
        self._take(self._rest)
        self._taken.end()

    def _take(self, line: bytes) -> None:
        self._number += 1
        if line and not line.isspace():
            judge = (lambda: nodes.record(_decoded(line))) if self._taken.whole else None
            self._taken.take(self._number, f"line {self._number}", line, judge)


def _decoded(line: bytes) -> Any:
    try:
        return nodes.decoded_one(line)
    except ValueError as error:
        raise Rejected("no-json", "is no JSON: {why}", code="COL-0518", why=f"{error!s:.200}") from None
