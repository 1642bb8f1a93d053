"""Bodies as they come over the wire, unpacked step by step: a small answer may hold gigabytes."""

import zlib
from collections.abc import AsyncIterator

STEP = 2**18
EITHER_HEADER = zlib.MAX_WBITS | 32  # gzip's or zlib's
GZIP, DEFLATED = 0x1F, 0x08


class TooLarge(Exception):
    """The body is larger than allowed."""


async def gathered(chunks: AsyncIterator[bytes], most: int) -> bytes:
    """All of the chunks together. Raises TooLarge beyond `most` bytes."""
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise TooLarge
        parts.append(chunk)
    return b"".join(parts)


async def unpacked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What a gzip or deflate stream holds, in small parts. Raises zlib.error when it is broken or ends too early."""
    packed = None
    async for chunk in chunks:
        if packed is None and chunk:
            packed = zlib.decompressobj(_window_bits(chunk[0]))
        while chunk and not packed.eof:
            yield packed.decompress(chunk, STEP)
            chunk = packed.unconsumed_tail
    if packed is not None:
        yield packed.flush()
        if not packed.eof:
            raise zlib.error("incomplete or truncated stream")


def _window_bits(first: int) -> int:
    """Some servers send "deflate" without the header it is meant to have."""
    return EITHER_HEADER if first == GZIP or first & 0x0F == DEFLATED else -zlib.MAX_WBITS
