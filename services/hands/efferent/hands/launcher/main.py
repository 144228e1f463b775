"""``python -m efferent.hands.launcher.main <fd> <pid of the hands>``: serve requests until the hands are gone."""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from efferent.hands.launcher import linux
from efferent.hands.launcher.inside import serve
from efferent.hands.launcher.messages import (
    DESCRIPTORS_MAX,
    MESSAGE_BYTES_MAX,
    ControlGroup,
    Request,
    RunTool,
    Spare,
    StartSandbox,
    decode,
)
from efferent.hands.launcher.start import start, wait

_SWEEP_EVERY_MS: Final = 1_000
_LAST_SWEEPS_MAX: Final = 20
SPARES_MAX: Final = 4


class Launcher:
    """Forks a child per request and cleans up after those that ended."""

    def __init__(self, hands: socket.socket) -> None:
        self._hands = hands
        self._spares: dict[tuple[ControlGroup, ...], socket.socket] = {}
        """Channels of the processes that wait for a sandbox with these groups."""
        self._groups: dict[int, tuple[ControlGroup, ...]] = {}
        self._emptied: list[str] = []
        """Folders of cgroups whose first process is gone; removed as soon as the kernel lets go of them."""

    def run(self) -> None:
        """Serve until the hands close their end."""
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(self._hands, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(_SWEEP_EVERY_MS if self._emptied else None)]
            if woken in ready:
                os.read(woken, 4096)
            self._reap()
            if self._hands.fileno() in ready and not self._serve_one():
                return self._close()

    def _serve_one(self) -> bool:
        """Take one request in; False when the hands are gone."""
        data, descriptors, _, _ = socket.recv_fds(self._hands, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
        if not data:
            return False
        try:
            request = decode(data)
            if not (isinstance(request, StartSandbox) and self._passed_to_spare(request, data, descriptors)):
                self._fork(request, descriptors)
        except OSError as error:
            # No process for it: the hands see their end of the connection close, and say so to the caller.
            sys.stderr.write(f"launcher: fork: {error.strerror}\n")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _passed_to_spare(self, request: StartSandbox, data: bytes, descriptors: Sequence[int]) -> bool:
        """Whether a process was waiting for this sandbox."""
        if (channel := self._spares.pop(request.groups, None)) is None:
            return False
        with channel:
            try:
                socket.send_fds(channel, [data], descriptors)
            except OSError:
                return False  # it died
        return True

    def _fork(self, request: Request, descriptors: Sequence[int]) -> None:
        if isinstance(request, Spare):
            if len(self._spares) >= SPARES_MAX:
                return
            self._spares[request.groups], theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            descriptors = [theirs.detach()]
        pid = os.fork()
        if pid == 0:
            self._child(request, descriptors)
        if isinstance(request, Spare):
            os.close(descriptors[0])
        if not isinstance(request, RunTool):
            self._groups[pid] = request.groups

    def _child(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        launcher_pid = os.getppid()
        signal.set_wakeup_fd(-1)
        self._hands.close()
        for channel in self._spares.values():
            channel.close()
        match request:
            case Spare():
                wait(request, socket.socket(fileno=descriptors[0]), launcher_pid)
            case StartSandbox():
                control, errors, info = descriptors
                start(request, control, errors, info, launcher_pid)
            case RunTool():
                connection = socket.socket(fileno=descriptors[0])
                serve(request, connection, descriptors[1] if len(descriptors) > 1 else None, launcher_pid)

    def _close(self) -> None:
        """The hands are gone: so are their sandboxes, and at last their groups."""
        for channel in self._spares.values():
            channel.close()
        self._emptied += [group.folder for groups in self._groups.values() for group in groups]
        self._groups.clear()
        for _ in range(_LAST_SWEEPS_MAX):
            self._reap()
            if not self._emptied:
                return
            select.select([], [], [], 0.02)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._emptied += [group.folder for group in self._groups.pop(pid, ())]
        self._emptied = [folder for folder in self._emptied if not _removed(folder)]


def _removed(folder: str) -> bool:
    """Remove a cgroup; whatever still lives in it is killed first. False when it has to be tried again."""
    with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.procs")) as file:
        for pid in map(int, file.read().split()):
            if pid > 0:  # the kernel writes 0 for a process of another PID namespace; kill would take it for a group
                os.kill(pid, signal.SIGKILL)
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def main() -> None:
    """Entry point."""
    hands = socket.socket(fileno=int(sys.argv[1]))
    linux.die_with_parent(int(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # a terminal's Ctrl-C reaches every process; the hands decide when to stop
    gc.freeze()  # what is loaded now is shared with every child instead of copied by the collector
    Launcher(hands).run()


if __name__ == "__main__":
    main()
