"""Bytes as a stream gives them."""

from collections.abc import AsyncIterator


async def chunked(data: bytes, chunk_bytes: int = 3) -> AsyncIterator[bytes]:
    """The bytes, a few at a time."""
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]
