"""What the kernel knows of a process and its descendants: memory and processor time."""

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED = 1, 11, 12, 13, 14
"""Places in ``/proc/<pid>/stat``, counted after the command's name."""


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (stat := _stat(int(folder.name))):
            children.setdefault(int(stat[_PARENT]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def pss_bytes(root: int) -> int:
    """Proportional set size of a process and its descendants: memory that is shared counts by its share."""
    return sum(_pss_bytes(pid) for pid in tree(root))


def restart_peak(pid: int) -> None:
    """Let ``peak_bytes`` begin anew at what the process uses now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most memory that the process alone has had resident, since its start or since ``restart_peak``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def cpu_s(root: int) -> float:
    """Processor time that the process and its descendants have used, in seconds."""
    stats = [stat for pid in tree(root) if (stat := _stat(pid))]
    columns = (_USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED)
    return sum(int(stat[column]) for stat in stats for column in columns) / _TICKS_PER_S


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
