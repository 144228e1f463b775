"""The in-memory twin of the blob store. It passes the same contract suite as the real ones."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Final

from efferent.common.blobs.chunks import BLOCK_BYTES, Digester
from efferent.common.blobs.keys import checked_key, checked_prefix
from efferent.common.ports import BlobDigest, BlobEntry, BlobsUnavailable

_STORED_US: Final = 1_800_000_000_000_000


class InMemoryBlobs:
    """See the port ``BlobStore``."""

    def __init__(self, now_us: Callable[[], int] = lambda: _STORED_US) -> None:
        """``now_us``: the store's own clock."""
        self._blobs: dict[str, bytes] = {}
        self._stored_us: dict[str, int] = {}
        self._now_us = now_us
        self.available = True

    async def put(self, key: str, data: bytes) -> None:
        """Keep the bytes."""
        self._must_be_available()
        self._blobs[checked_key(key)] = data
        self._stored_us[key] = self._now_us()

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobDigest:
        """Keep what the chunks add up to."""
        checked_key(key)
        digester, kept = Digester(), bytearray()
        async for chunk in chunks:
            digester.add(chunk)
            kept += chunk
        await self.put(key, bytes(kept))
        return digester.digest()

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError."""
        self._must_be_available()
        return self._blobs[checked_key(key)]

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """The bytes in blocks. Raises KeyError."""
        data = await self.get(key)
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]

    async def copy(self, source: str, target: str) -> None:
        """Keep the bytes under another key too. Raises KeyError."""
        await self.put(target, await self.get(source))

    async def delete(self, prefix: str) -> None:
        """Forget every blob whose key starts with the prefix."""
        self._must_be_available()
        checked_prefix(prefix)
        for key in [key for key in self._blobs if key.startswith(prefix)]:
            del self._blobs[key], self._stored_us[key]

    async def entries(self, prefix: str = "") -> AsyncGenerator[BlobEntry]:
        """Every blob whose key starts with the prefix."""
        if prefix:
            checked_prefix(prefix)
        for key, data in list(self._blobs.items()):
            if key.startswith(prefix):
                yield BlobEntry(key, len(data), self._stored_us[key])

    async def check(self) -> None:
        """All is well unless a test says otherwise. Raises BlobsUnavailable."""
        self._must_be_available()

    async def sweep_drafts(self) -> int:
        """There are none."""
        return 0

    def _must_be_available(self) -> None:
        if not self.available:
            raise BlobsUnavailable("a test says so")
