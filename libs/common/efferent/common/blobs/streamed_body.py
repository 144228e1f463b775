"""A body that an event loop fills while a thread reads it, never more than one block ahead."""

import asyncio
from concurrent.futures import CancelledError
from typing import Final

from efferent.common.ports import BlobsUnavailable

READ_WAIT_S: Final = 120.0
"""How long a thread waits for the next block; those who fill bodies have limits of their own, which are shorter."""


class Aborted(Exception):
    """The one who fills the body has given up."""


class StreamedBody:
    """One reader in a thread, one writer on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._left = memoryview(b"")
        self._ended = False
        self._aborted = False
        self._unread = asyncio.Event()

    # --- the loop's side ----------------------------------------------------------------------------------------------

    async def give(self, block: bytes) -> bool:
        """Wait until the reader wants more, and give it. False: nobody reads any more."""
        return await self._put(block)

    async def end(self) -> None:
        """That was all."""
        await self._put(None)

    def abort(self) -> None:
        """Make the reader fail at its next read."""
        self._aborted = True
        while not self._blocks.empty():
            self._blocks.get_nowait()
        self._blocks.put_nowait(None)

    def stop_reading(self) -> None:
        """Tell the writer that nobody reads any more."""
        self._unread.set()

    async def _put(self, block: bytes | None) -> bool:
        putting = asyncio.ensure_future(self._blocks.put(block))
        stopped = asyncio.ensure_future(self._unread.wait())
        try:
            await asyncio.wait({putting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return putting.done() and not self._unread.is_set()
        finally:
            putting.cancel()
            stopped.cancel()

    # --- the thread's side --------------------------------------------------------------------------------------------

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; none at the end. Raises Aborted."""
        if not self._left and not self._ended:
            self._left = memoryview(self._next())
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return bytes(taken)

    def _next(self) -> bytes:
        try:
            block = asyncio.run_coroutine_threadsafe(self._blocks.get(), self._loop).result(READ_WAIT_S)
        except TimeoutError as error:
            raise BlobsUnavailable(f"nothing came to be stored for {READ_WAIT_S:g} s") from error
        except (CancelledError, RuntimeError) as error:  # the loop is closed, or its task is gone
            raise Aborted from error
        if self._aborted:
            raise Aborted
        if block is None:
            self._ended = True
            return b""
        return block
