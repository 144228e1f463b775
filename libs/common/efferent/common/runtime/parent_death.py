"""How a service notices that its supervisor is gone, and how it tells the supervisor that it is ready.

A supervised child inherits one end of a socket pair. It writes one line when it can do its work, and reads the end of
file when the supervisor is dead, whatever killed it. On Linux the kernel kills the child as well, at once.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Final

SUPERVISOR_FD: Final = "EFFERENT_SUPERVISOR_FD"
SUPERVISOR_PID: Final = "EFFERENT_SUPERVISOR_PID"
READY_LINE: Final = b"ready\n"

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exits at once when the parent is dead already.

    The wish survives ``exec``. It is bound to the parent's *thread* that started this process. Does nothing where the
    kernel has no such call: there the end of file on the supervisor's socket is all there is.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(1)


class SupervisorLink:
    """The child's end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.set_inheritable(False)
        self._end = end

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "SupervisorLink | None":
        """The link of this process, None when nobody supervises it. Also binds its life to the supervisor's."""
        if SUPERVISOR_FD not in environ:
            return None
        die_with_parent(int(environ[SUPERVISOR_PID]))
        return cls(socket.socket(fileno=int(environ[SUPERVISOR_FD])))

    def tell_ready(self) -> None:
        """Say that the service can do its work now."""
        with contextlib.suppress(OSError):
            self._end.send(READY_LINE)

    async def supervisor_gone(self) -> None:
        """Return when the supervisor is dead."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while await loop.sock_recv(self._end, 64):
                pass

    def close(self) -> None:
        """Give the socket back."""
        self._end.close()
