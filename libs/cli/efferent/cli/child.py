"""One child process of the supervisor: how it is started, when it is ready, how it is told to stop."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.runtime.parent_death import READY_LINE, SUPERVISOR_FD, SUPERVISOR_PID

_KILL_GRACE_S: Final = 0.25

Probe = Callable[[], Awaitable[None]]
"""Returns when the child can do its work, for a child that cannot say so itself."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What one child is."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    drain_budget_s: float
    """From SIGTERM to SIGKILL."""
    after: tuple[str, ...] = ()
    """Children that are ready before this one is started for the first time."""
    probe: Probe | None = None
    """None: the child writes the ready line on its supervisor's socket."""
    pass_fds: tuple[int, ...] = ()
    umask: int = 0o077


class Child:
    """A running child process. It is the leader of its own process group, so Ctrl-C reaches only the supervisor."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process, link: socket.socket) -> None:
        self._spec = spec
        self._process = process
        self._link = link

    @classmethod
    async def spawn(cls, spec: ChildSpec) -> "Child":
        """Start the process. To be called on the main thread, to which the kernel ties the child's life.

        Raises OSError when the program cannot be started.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *spec.argv,
                    env={**spec.environ, SUPERVISOR_FD: str(theirs.fileno()), SUPERVISOR_PID: str(os.getpid())},
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                    umask=spec.umask,
                    pass_fds=(theirs.fileno(), *spec.pass_fds),
                )
            except BaseException:
                ours.close()
                raise
        return cls(spec, process, ours)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ready(self) -> bool:
        """Return True when the child can do its work, False when it ended before."""
        if self._spec.probe is not None:
            probing = asyncio.ensure_future(self._spec.probe())
            ended = asyncio.ensure_future(self._process.wait())
            try:
                await asyncio.wait([probing, ended], return_when=asyncio.FIRST_COMPLETED)
                return probing.done() and probing.exception() is None
            finally:
                probing.cancel()
                ended.cancel()
        with contextlib.suppress(OSError):
            line = await asyncio.get_running_loop().sock_recv(self._link, len(READY_LINE))
            return line == READY_LINE
        return False

    async def wait(self) -> int:
        """Return the exit code once the process has ended; the negative signal number when a signal ended it."""
        code = await self._process.wait()
        self._link.close()
        return code

    async def terminate(self) -> None:
        """Ask the child to stop, and kill its whole process group when its budget is spent."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._spec.drain_budget_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILL_GRACE_S):
                    await self._process.wait()

    def kill(self) -> None:
        """Kill the child and what it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
