"""What the kernel is told to limit for each process of a sandbox."""

import os
import platform
import re
from typing import Final

from efferent.hands import processes
from efferent.hands.settings import HandsSettings

_COUNTS_BY_NAMESPACE_SINCE: Final = (5, 14)
"""Kernels from here on count a uid's processes for each user namespace, older ones for the whole machine."""


def resource_limits(settings: HandsSettings, *, has_memory_group: bool) -> tuple[tuple[str, int], ...]:
    """Limits that are set before the sandbox starts."""
    limits = [
        ("RLIMIT_FSIZE", settings.disk_bytes_max),
        ("RLIMIT_NOFILE", settings.open_files_max),
        ("RLIMIT_CORE", 0),
    ]
    if not has_memory_group:
        # Of one process; the watchdog adds them up. RLIMIT_AS would break programs that reserve more than they use.
        limits.append(("RLIMIT_DATA", settings.memory_bytes_max))
    return tuple(limits)


def processes_argument(settings: HandsSettings, uid: int | None, *, is_namespaced: bool) -> str:
    """The limit on processes that the sandbox's first shell sets, "0" for none."""
    if uid is not None or (is_namespaced and _kernel() >= _COUNTS_BY_NAMESPACE_SINCE):
        return str(settings.processes_max)
    if os.geteuid() == 0 and not is_namespaced:
        return "0"  # root is exempt: only a cgroup can limit it
    return str(settings.processes_max + processes.tasks_of(os.geteuid()))


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
