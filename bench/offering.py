"""Requests offered at a pace, whatever becomes of those before them: an answer that is late is not waited for.

A request's time counts from when it was due, so that a server that stops for a moment cannot hide it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 64


@dataclass(frozen=True)
class Offered:
    """Seconds of each answer, and how many were of which status."""

    seconds: list[float]
    statuses: dict[int, int]

    def percentile(self, part: float) -> float:
        found = sorted(self.seconds)
        return found[min(len(found) - 1, int(len(found) * part))] if found else float("nan")


class Connection:
    """One kept open; HTTP/1.1 as far as a benchmark needs it."""

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._key = parts.hostname, parts.port, key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._key}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return int(answer[9:12])

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


async def offered(address: str, key: str, requests: Sequence[tuple[str, str, bytes]], rate: float) -> Offered:
    """All `requests` (method, path, body), so many a second."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [Connection(address, key) for _ in range(CONNECTIONS)]
    for each in connections:
        free.put_nowait(each)
    done = Offered([], {})
    began = time.perf_counter()

    async def one(due: float, request: tuple[str, str, bytes]) -> None:
        connection = await free.get()
        status = await connection.ask(*request)
        done.seconds.append(time.perf_counter() - due)
        done.statuses[status] = done.statuses.get(status, 0) + 1
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due, request))
    for each in connections:
        each.close()
    return done
