"""From a fork of the launcher to a file tool that sees what its sandbox sees.

It enters the sandbox's user and mount namespaces: every path and symbolic link resolves in the sandbox's own root, so
none can lead to the host. It does not enter the PID namespace: code in the sandbox cannot see, signal or trace it. What
runs here is our own code; it drops every capability and runs nothing that the sandbox brought.
"""

import os
import resource
import signal
import socket
from typing import Final, NoReturn

from efferent.hands.launcher import linux
from efferent.hands.launcher.messages import RunTool
from efferent.hands.tools.places import WORKSPACE, Places
from efferent.hands.tools.requests import decode_request, encode_reply, text_reply
from efferent.hands.tools.run import run

REQUEST_BYTES_MAX: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 1 << 18


def serve(request: RunTool, connection: socket.socket, sandbox: int | None, launcher_pid: int) -> NoReturn:
    """Answer the one request on the connection. Never returns."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even inside a regular expression
        signal.setitimer(signal.ITIMER_REAL, request.timeout_s)
        reply = _answer(request, connection, sandbox, launcher_pid)
        connection.sendall(reply)
    except BrokenPipeError:
        pass  # the call was cancelled
    finally:
        os._exit(0)


def _answer(request: RunTool, connection: socket.socket, sandbox: int | None, launcher_pid: int) -> bytes:
    try:
        asked = decode_request(_received(connection))
        _enter(request, sandbox, launcher_pid)
    except Exception as error:
        return encode_reply(text_reply(f"the sandbox could not be entered: {error}", is_error=True))
    return encode_reply(run(asked, Places(request.folders)))


def _received(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    left = REQUEST_BYTES_MAX
    while left > 0 and (part := connection.recv(_CHUNK_BYTES)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _enter(request: RunTool, sandbox: int | None, launcher_pid: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_bytes_max,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (request.memory_bytes_max,) * 2)
    os.umask(0o022)
    if request.uid is not None:
        linux.become(request.uid)  # the owner of a user namespace has the right to enter it
    linux.die_with_parent(launcher_pid)
    if request.is_inside and sandbox is not None:
        os.setns(sandbox, linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        os.chdir(WORKSPACE)
        if not request.keeps_rights:
            linux.drop_capabilities()
