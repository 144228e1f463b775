"""The hands' end of the launcher process: starts it, asks it, starts it again when it died."""

import array
import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from efferent.hands.launcher.messages import Request, RunTool, encode
from efferent.hands.ports import SandboxFailed
from efferent.hands.tools.requests import FileRequest, Reply, decode_reply, encode_request, text_reply

REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
FILE_TOOLS_MAX: Final = 16
"""File tools that run at once, over all sessions; more of them wait."""

_SEND_TRIES_MAX: Final = 200
_SEND_PAUSE_S: Final = 0.01
_STOP_WITHIN_S: Final = 2.0
_CHUNK_BYTES: Final = 1 << 18

_log = logging.getLogger(__name__)


class Launcher:
    """Client of one launcher process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._end: socket.socket | None = None
        self._file_tools = asyncio.Semaphore(FILE_TOOLS_MAX)

    def start(self) -> None:
        """Start the process. Raises OSError."""
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        ours.setblocking(False)
        with theirs:
            command = [sys.executable, "-m", "efferent.hands.launcher.main", str(theirs.fileno()), str(os.getpid())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603
        self._end = ours

    async def stop(self) -> None:
        """End the process and with it every sandbox. Repeating it is harmless."""
        process, self._process = self._process, None
        if self._end is not None:
            self._end.close()
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, _STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def ask(self, request: Request, descriptors: Sequence[int]) -> None:
        """Hand over one request. Raises SandboxFailed when no launcher can be had."""
        data = encode(request)
        for _ in range(_SEND_TRIES_MAX):
            try:
                self._send(data, descriptors)
                return
            except BlockingIOError:
                await asyncio.sleep(_SEND_PAUSE_S)
            except OSError:
                await self._start_again()
        raise SandboxFailed("the launcher of the sandboxes does not take requests")

    async def file_tool(self, spec: RunTool, sandbox: int | None, request: FileRequest) -> Reply:
        """Run a file tool. ``sandbox``: pidfd of the sandbox's init, for a tool that runs inside.

        A tool that misses its deadline gives an error reply. Raises SandboxFailed.
        """
        async with self._file_tools:
            ours, theirs = socket.socketpair()
            with theirs:
                descriptors = [theirs.fileno(), *([] if sandbox is None else [sandbox])]
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_CHUNK_BYTES)
                try:
                    await self.ask(spec, descriptors)
                    theirs.close()
                    data = await _exchange(reader, writer, encode_request(request))
                finally:
                    writer.close()
        try:
            return decode_reply(data)
        except ValueError:
            return text_reply(f"the call was stopped: it took longer than {spec.timeout_s:g} s", is_error=True)

    def _send(self, data: bytes, descriptors: Sequence[int]) -> None:
        if self._end is None:
            raise BrokenPipeError
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        self._end.sendmsg([data], [rights])

    async def _start_again(self) -> None:
        if self._process is None:
            raise SandboxFailed("the hands are stopping")
        _log.warning("the launcher died and is started again")
        await self.stop()
        try:
            self.start()
        except OSError as error:
            raise SandboxFailed(f"the launcher of the sandboxes cannot be started: {error}") from error


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        writer.write_eof()
    parts: list[bytes] = []
    left = REPLY_BYTES_MAX
    with contextlib.suppress(ConnectionError):
        while left > 0 and (part := await reader.read(_CHUNK_BYTES)):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)
