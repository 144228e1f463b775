"""What a command prints, taken from a named pipe: the first and the last of it are kept, all of it is read.

A command must never wait for a reader, and must never fill the memory of the hands either.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

LINGERING_MAX: Final = 16
"""Pipes of ended calls in which background processes still write; the oldest is closed beyond it."""
DRAIN_BYTES_MAX: Final = 1 << 20
"""Read after a command's end; what it printed itself is in the pipe by then, and a pipe holds no more."""

_READ_BYTES: Final = 1 << 16
_PAUSE_EVERY_BYTES: Final = 1 << 20
_PAUSE_S: Final = 0.01
"""Once nothing more is kept, a flood is read at 100 MB/s at most, so that it cannot take the whole processor."""


class Capture:
    """Reads one call's pipe from before the command starts."""

    def __init__(self, pipe: Path, bytes_max: int, on_output: Callable[[bytes], None]) -> None:
        """Make the pipe and read it. ``bytes_max`` is how much is kept. Raises OSError."""
        self.total_bytes = 0
        self._pipe = pipe
        self._head_max = bytes_max - bytes_max // 2
        self._tail_max = bytes_max // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._until_pause = _PAUSE_EVERY_BYTES
        self._on_output = on_output
        self._loop = asyncio.get_running_loop()
        os.mkfifo(pipe)
        pipe.chmod(0o622)  # the sandbox's uid is another one
        self._reads = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        # An end of our own to write to: without a writer, the pipe would look as if it had ended.
        self._writes = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        self._loop.add_reader(self._reads, self._readable)

    def output(self) -> bytes:
        """What is kept, with a line in place of what is not."""
        tail = b"".join(self._tail)[-self._tail_max :] if self._tail else b""
        left_out = self.total_bytes - len(self._head) - len(tail)
        gap = f"\n[... {left_out} bytes left out ...]\n".encode() if left_out > 0 else b""
        return bytes(self._head) + gap + tail

    def finish(self) -> bool:
        """The command has ended: take what is still in the pipe. True when somebody else keeps writing to it.

        Then the capture goes on reading, and throws away, until ``close`` or the last writer's end.
        """
        self._pipe.unlink(missing_ok=True)
        self._take(DRAIN_BYTES_MAX)
        self._on_output = _ignore
        os.close(self._writes)
        self._writes = -1
        try:
            return bool(os.read(self._reads, _READ_BYTES))
        except BlockingIOError:
            return True

    def close(self) -> None:
        """Stop reading. Repeating it is harmless."""
        self._pipe.unlink(missing_ok=True)
        if self._reads >= 0:
            self._loop.remove_reader(self._reads)
            os.close(self._reads)
            self._reads = -1
        if self._writes >= 0:
            os.close(self._writes)
            self._writes = -1

    def discard(self, on_end: Callable[[], None]) -> None:
        """Read and throw away until the last writer is gone."""
        self._on_end = on_end
        self._head, self._tail = bytearray(), deque()
        self._loop.remove_reader(self._reads)
        self._loop.add_reader(self._reads, self._discard)

    def _discard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._reads, _READ_BYTES):
                self.close()
                self._on_end()
                return
        self._pause_at_times(_READ_BYTES, self._discard)

    def _readable(self) -> None:
        taken = self._take(_READ_BYTES)
        if self.total_bytes > self._head_max + self._tail_max:
            self._pause_at_times(taken, self._readable)

    def _take(self, bytes_max: int) -> int:
        taken = 0
        while taken < bytes_max:
            try:
                data = os.read(self._reads, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            taken += len(data)
            self._keep(data)
        return taken

    def _keep(self, data: bytes) -> None:
        self.total_bytes += len(data)
        self._on_output(data)
        room = self._head_max - len(self._head)
        self._head += data[:room]
        if not (rest := data[room:]):
            return
        self._tail.append(rest)
        self._tail_bytes += len(rest)
        while self._tail_bytes - len(self._tail[0]) >= self._tail_max:
            self._tail_bytes -= len(self._tail.popleft())

    def _pause_at_times(self, taken: int, resume: Callable[[], None]) -> None:
        self._until_pause -= taken
        if self._until_pause <= 0:
            self._until_pause = _PAUSE_EVERY_BYTES
            self._loop.remove_reader(self._reads)
            self._loop.call_later(_PAUSE_S, self._resume, resume)

    def _resume(self, resume: Callable[[], None]) -> None:
        if self._reads >= 0:
            self._loop.add_reader(self._reads, resume)


def _ignore(_data: bytes) -> None:
    """Nobody listens any more."""
