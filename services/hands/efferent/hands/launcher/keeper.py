"""The process above an unisolated sandbox: adopts what its programs leave behind, and ends all of it.

A PID namespace does this for the real sandbox; without one, a process that daemonized would outlive its session.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from efferent.hands.launcher import linux

_ROUNDS_MAX: Final = 1_000
"""Each round kills everything that it finds; only a program that forks faster than that sees a second one."""


_AWAITED: Final = (signal.SIGTERM, signal.SIGCHLD)


def keep(execute: Callable[[], NoReturn], info: int, launcher_pid: int) -> NoReturn:
    """Run the program in a child; end everything when it ends, when SIGTERM comes or when the launcher dies.

    The program's end and the launcher's death often come in the same moment. So signals are waited for and handled by
    nobody else: a handler that raised could do so on the very way to ending the rest.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    linux.adopt_orphans()
    linux.die_with_parent(launcher_pid, signal.SIGTERM)
    os.write(info, json.dumps({"child-pid": os.getpid()}).encode())  # before "ready" can be said
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        execute()
    os.closerange(0, 1024)
    while signal.sigwait(_AWAITED) != signal.SIGTERM and not _reaped(child):
        pass
    _end_descendants()
    os._exit(0)


def _reaped(child: int) -> bool:
    """Bury every dead child; whether this one, or the last of all, was among them."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == child:
            return True
        if pid == 0:
            return False


def _end_descendants() -> None:
    for _ in range(_ROUNDS_MAX):
        for pid in _children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()  # what the dead leave behind becomes this process's own child: the next round finds it
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Pids of the children of this process; the process group where there is no /proc to ask."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return [0]
