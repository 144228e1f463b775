"""From a fork of the launcher to the first process of a sandbox."""

import fcntl
import os
import resource
import signal
import socket
import sys
from typing import Final, NoReturn

from efferent.hands.launcher import linux, seccomp
from efferent.hands.launcher.keeper import keep
from efferent.hands.launcher.messages import (
    CONTROL_FD,
    DESCRIPTORS_MAX,
    INFO_FD,
    MESSAGE_BYTES_MAX,
    SECCOMP_FD,
    STAGE,
    ControlGroup,
    Spare,
    StartSandbox,
    decode,
)

_FIRST_FREE_FD: Final = 32
_CLOSED_BELOW: Final = 1024
_RESET_SIGNALS: Final = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def start(request: StartSandbox, control: int, errors: int, info: int, launcher_pid: int) -> NoReturn:
    """Become the sandbox's first process. Never returns; a failure is written to the pipe for errors."""
    try:
        _confine(request.groups, request.limits, has_own_mounts=request.uid is not None)
        _become(request, control, errors, info, launcher_pid)
    except BaseException as error:
        _report(error, errors)
    os._exit(127)


def wait(spare: Spare, channel: socket.socket, launcher_pid: int) -> NoReturn:
    """Do what every sandbox needs, then wait for the one that is asked for. Never returns."""
    try:
        linux.die_with_parent(launcher_pid)
        _confine(spare.groups, spare.limits, has_own_mounts=spare.has_own_mounts)
        data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
    except BaseException:
        os._exit(127)  # the launcher starts another process when it finds the channel closed
    if not data:
        os._exit(0)
    control, errors, info = descriptors
    try:
        request = decode(data)
        if isinstance(request, StartSandbox):
            _become(request, control, errors, info, launcher_pid)
    except BaseException as error:
        _report(error, errors)
    os._exit(127)


def _become(request: StartSandbox, control: int, errors: int, info: int, launcher_pid: int) -> NoReturn:
    if request.uid is not None:
        _stage(request.staged)
        linux.become(request.uid)
    for number in _RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()  # a terminal's Ctrl-C is for the hands: they end their sandboxes in order
    if request.is_kept:
        keep(lambda: _execute(request, control, errors, info), info, launcher_pid)
    linux.die_with_parent(launcher_pid)
    _execute(request, control, errors, info)


def _report(error: BaseException, errors: int) -> None:
    os.write(errors, f"{type(error).__name__}: {error}".encode()[:1000])


def _confine(groups: tuple[ControlGroup, ...], limits: tuple[tuple[str, int], ...], *, has_own_mounts: bool) -> None:
    """What needs the launcher's own rights and is the same for every session."""
    for group in groups:
        _join(group)
    for name, value in limits:
        _limit(getattr(resource, name), value)
    os.umask(0o022)
    if has_own_mounts:
        linux.own_mounts()


def _join(group: ControlGroup) -> None:
    os.makedirs(group.folder, exist_ok=True)
    for name, value in group.values:
        _write(os.path.join(group.folder, name), value)
    _write(os.path.join(group.folder, "cgroup.procs"), "0")


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _limit(kind: int, value: int) -> None:
    """Set both limits, never above the hard limit that the launcher itself has."""
    hard = resource.getrlimit(kind)[1]
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bounded, bounded))


def _stage(staged: tuple[tuple[str, str], ...]) -> None:
    # Before the stage covers what may lie below it, but after the copy: another namespace's mounts cannot be bound.
    sources = [(os.open(source, os.O_PATH | os.O_DIRECTORY), name) for source, name in staged]
    linux.mount_tmpfs(STAGE)
    for descriptor, name in sources:
        os.mkdir(f"{STAGE}/{name}")
        linux.bind(f"/proc/self/fd/{descriptor}", f"{STAGE}/{name}")
        os.close(descriptor)


def _execute(request: StartSandbox, control: int, errors: int, info: int) -> NoReturn:
    nothing = os.open(os.devnull, os.O_RDWR)
    wanted = {0: nothing, 1: nothing, 2: errors, CONTROL_FD: control, INFO_FD: info, SECCOMP_FD: _filter()}
    # First out of the way of the numbers that are wanted, then to them.
    moved = {target: fcntl.fcntl(source, fcntl.F_DUPFD, _FIRST_FREE_FD) for target, source in wanted.items()}
    for target, source in moved.items():
        os.dup2(source, target)
    os.closerange(SECCOMP_FD + 1, _CLOSED_BELOW)
    os.chdir(request.folder)
    os.execve(request.argv[0], list(request.argv), request.environ)  # noqa: S606  no shell is what is wanted


def _filter() -> int:
    """A descriptor to read the system call filter from."""
    text = seccomp.program() or b""
    if sys.platform != "linux":
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.memfd_create("seccomp", 0)
    os.write(descriptor, text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
