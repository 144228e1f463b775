"""The host's view of a sandbox's processes: who descends from whom, and ending some of them. Reads /proc."""

import contextlib
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

KILL_ROUNDS_MAX: Final = 20
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_START_TIME_FIELD: Final = 19  # counted after the command's name, as are the others
_PARENT_FIELD: Final = 1
_RESIDENT_FIELD: Final = 21


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    parent: int
    started_ticks: int
    """Clock ticks from the machine's start to the process's."""
    resident_bytes: int


def descendants(root: int) -> dict[int, Process]:
    """The process and everything that descends from it, by pid; empty when it is gone."""
    table = {process.pid: process for process in map(_read, _pids()) if process is not None}
    return {pid: table[pid] for pid in _below(root, table)} if root in table else {}


def resident_bytes(root: int) -> int:
    """Memory of the process and all its descendants; what they share is counted once for each."""
    return sum(process.resident_bytes for process in descendants(root).values())


def tasks_of(uid: int) -> int:
    """Processes and threads that the uid has, which is what ``RLIMIT_NPROC`` counts."""
    count = 0
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def now_ticks() -> int:
    """The time in the unit of ``Process.started_ticks``."""
    try:
        with open("/proc/uptime") as file:
            return int(float(file.read().split()[0]) * os.sysconf("SC_CLK_TCK"))
    except OSError:
        return 0  # without /proc there are no processes to compare with either


def inner_pid(pid: int) -> int | None:
    """What the process is called in its own PID namespace; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            line = next(line for line in file if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[-1])


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a shell had running in the background before a command began."""

    since_ticks: int
    """When the command began."""
    inner_pids: frozenset[int]
    """The jobs that the shell knows of: the clock's ticks are too coarse for two commands in a row."""


def end_command(root: int, shell_inner_pid: int, earlier: Earlier) -> bool:
    """Kill a shell and what descends from it, save what it had in the background before its command.

    ``root`` is the first process of the shell's sandbox. False when new processes kept appearing: the caller has to end
    the whole sandbox then.
    """
    family = descendants(root)
    shell = next((pid for pid in family if inner_pid(pid) == shell_inner_pid), None)
    if shell is None:
        return True
    spared = _background(shell, family, earlier)
    stopped: set[int] = set()
    for _ in range(KILL_ROUNDS_MAX):
        victims = _below(shell, descendants(root)) - spared
        if victims <= stopped:
            _signal(victims, signal.SIGKILL)
            return True
        # All are stopped before one is killed: a shell whose child dies would go on with its next command.
        _signal(victims, signal.SIGSTOP)
        stopped |= victims
    return False


def _background(shell: int, family: dict[int, Process], earlier: Earlier) -> set[int]:
    """The earlier children of the shell, with all that descends from them."""
    children = [it for it in family.values() if it.parent == shell]
    old = [
        it.pid for it in children if it.started_ticks < earlier.since_ticks or inner_pid(it.pid) in earlier.inner_pids
    ]
    return set().union(*(_below(pid, family) for pid in old))


def _below(root: int, table: dict[int, Process]) -> set[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in table.values():
        children[process.parent].append(process.pid)
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid in table and pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    parent, started = int(fields[_PARENT_FIELD]), int(fields[_START_TIME_FIELD])
    return Process(pid, parent, started, int(fields[_RESIDENT_FIELD]) * _PAGE_BYTES)
