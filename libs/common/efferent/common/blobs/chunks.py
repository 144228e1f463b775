"""Streams of bytes in pieces of a size that is worth a disk write or a thread's while."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

from efferent.common.ports import BlobDigest

BLOCK_BYTES: Final = 1024 * 1024


async def blocks(chunks: AsyncIterable[bytes], block_bytes: int = BLOCK_BYTES) -> AsyncGenerator[bytes]:
    """The same bytes in blocks of ``block_bytes``; the last one may be shorter."""
    buffer = bytearray()
    async for chunk in chunks:
        view = memoryview(chunk)
        while view:
            room = block_bytes - len(buffer)
            buffer += view[:room]
            view = view[room:]
            if len(buffer) == block_bytes:
                yield bytes(buffer)
                buffer.clear()
    if buffer:
        yield bytes(buffer)


class Digester:
    """Counts and hashes what passes by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    def add(self, block: bytes) -> None:
        """Take in the next bytes."""
        self._hash.update(block)
        self._size_bytes += len(block)

    def digest(self) -> BlobDigest:
        """What has passed by so far."""
        return BlobDigest(self._size_bytes, self._hash.hexdigest())
