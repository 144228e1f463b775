"""The program that stays as nats-server's parent where the kernel does not tie lives together."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

WITHIN_S: Final = 20

CHILD: Final = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
STUBBORN: Final = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + CHILD
GUARD: Final = """
import asyncio, sys
from efferent.cli import run_nats
run_nats._STOP_BUDGET_S = 0.2
sys.exit(asyncio.run(run_nats.guard([sys.executable, "-I", "-S", "-c", {child!r}])))
"""


@contextmanager
def guarded(child: str, link: socket.socket) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The guard, and a descriptor of the process that it guards."""
    environ = dict(os.environ, EFFERENT_SUPERVISOR_FD=str(link.fileno()), EFFERENT_SUPERVISOR_PID=str(os.getpid()))
    argv = [sys.executable, "-c", textwrap.dedent(GUARD.format(child=child))]
    with subprocess.Popen(argv, env=environ, pass_fds=(link.fileno(),), stdout=subprocess.PIPE, text=True) as guard:
        link.close()
        assert guard.stdout is not None
        pid = int(guard.stdout.readline())
        try:
            yield guard, os.pidfd_open(pid)
        finally:
            for victim in (guard.pid, pid):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)


def has_ended(pid_fd: int) -> bool:
    ended, _, _ = select.select([pid_fd], [], [], WITHIN_S)
    os.close(pid_fd)
    return bool(ended)


def test_the_server_ends_when_the_supervisors_socket_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, guarded(CHILD, theirs) as (guard, server):
        ours.close()
        assert has_ended(server)
        assert guard.wait(WITHIN_S) != 0


def test_the_server_ends_when_its_guard_is_told_to_stop() -> None:
    ours, theirs = socket.socketpair()
    with ours, guarded(CHILD, theirs) as (guard, server):
        guard.terminate()
        assert has_ended(server)


def test_a_server_that_ignores_the_stop_is_killed() -> None:
    ours, theirs = socket.socketpair()
    with ours, guarded(STUBBORN, theirs) as (guard, server):
        guard.terminate()
        assert has_ended(server)
        guard.wait(WITHIN_S)
