"""The lines that the shells of a sandbox send and are sent."""

import asyncio
import contextlib
from typing import Final

from efferent.hands.ports import SandboxDied

LINE_BYTES_MAX: Final = 200
"""No line of the protocol is longer; what is longer is not of the protocol."""


class Control:
    """The hands' end of a sandbox's control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_open(self) -> bool:
        """Whether the other end may still answer."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def send(self, line: str) -> None:
        """Send one line. Raises SandboxDied."""
        if not self.is_open:
            raise SandboxDied("the sandbox has ended")
        self._writer.write(line.encode() + b"\n")

    async def receive(self) -> list[str]:
        """The words of the next line. Raises SandboxDied when there will be none."""
        try:
            return (await self._reader.readuntil(b"\n")).decode(errors="replace").split()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            raise SandboxDied("the sandbox has ended") from error

    def close(self) -> None:
        """Close our end; a shell that waits for the next line ends."""
        with contextlib.suppress(RuntimeError):  # the event loop is closed already
            self._writer.close()
