"""Which cgroup controllers can be used here, in either version of cgroups, and the groups for one sandbox."""

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from efferent.hands.launcher.messages import ControlGroup

PREFIX: Final = "efferent-"

_REMOVALS_MAX: Final = 5
_REMOVAL_PAUSE_S: Final = 0.02
"""A group can be removed when the kernel has buried its last process."""

_MEMORY_V1: Final = "memory.limit_in_bytes"
_MEMORY_AND_SWAP_V1: Final = "memory.memsw.limit_in_bytes"
_SPARE_PROCESSES: Final = 16
"""For the processes that the sandbox itself needs, which the processes' own limit does not count."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one sandbox."""

    groups: tuple[ControlGroup, ...]
    memory: Path | None
    """The group that limits memory, if one does."""

    def memory_kills(self) -> int:
        """How often the kernel has killed a process of the group for want of memory."""
        if self.memory is None:
            return 0
        for name in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                for line in (self.memory / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0


@dataclass(slots=True)
class Controllers:
    """The places below which groups may be made; None for a controller that is not ours to use."""

    memory: Path | None
    processes: Path | None
    is_version_1: bool
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def groups(self, memory_bytes_max: int, processes_max: int) -> Groups:
        """Fresh groups for a sandbox."""
        name = f"{PREFIX}{os.getpid()}-{next(self._numbers)}"
        tasks = ("pids.max", str(processes_max + _SPARE_PROCESSES))
        if not self.is_version_1:
            if self.memory is None:
                return Groups((), None)
            memory = self.memory / name
            values = [("memory.max", str(memory_bytes_max)), tasks]
            if (self.memory / "memory.swap.max").exists():
                values.append(("memory.swap.max", "0"))
            return Groups((ControlGroup(str(memory), tuple(values)),), memory)
        groups = []
        if self.memory is not None:
            values = [(_MEMORY_V1, str(memory_bytes_max))]
            if (self.memory / _MEMORY_AND_SWAP_V1).exists():
                values.append((_MEMORY_AND_SWAP_V1, str(memory_bytes_max)))
            groups.append(ControlGroup(str(self.memory / name), tuple(values)))
        if self.processes is not None:
            groups.append(ControlGroup(str(self.processes / name), (tasks,)))
        return Groups(tuple(groups), self.memory / name if self.memory else None)


def find(membership: str | None = None, mounts: str | None = None) -> Controllers:
    """Look for controllers that this process may use. The texts are those of /proc/self/{cgroup,mountinfo}."""
    membership = _text("/proc/self/cgroup") if membership is None else membership
    mounts = _text("/proc/self/mountinfo") if mounts is None else mounts
    own = {name: path for _, names, path in _memberships(membership) for name in names.split(",")}
    version_1 = [
        _usable(own.get(name), _mounts(mounts, "cgroup", name), file)
        for name, file in (("memory", _MEMORY_V1), ("pids", "pids.max"))
    ]
    if any(version_1):
        return Controllers(version_1[0], version_1[1], is_version_1=True)
    unified = _usable(own.get(""), _mounts(mounts, "cgroup2", None), "memory.max", "pids.max")
    return Controllers(unified, unified, is_version_1=False)


def sweep(controllers: Controllers) -> None:
    """End what hands that are no more left behind, and remove their groups.

    Hands killed in the very moment in which bubblewrap makes its namespaces leave its inner process behind: it waits
    for an outer one that is gone, and dies with nobody.
    """
    for folder in {controllers.memory, controllers.processes} - {None}:
        with contextlib.suppress(OSError):
            for entry in os.scandir(str(folder)):
                pid = entry.name.removeprefix(PREFIX).partition("-")[0]
                if entry.name.startswith(PREFIX) and not os.path.exists(f"/proc/{pid}"):
                    _end(Path(entry.path))


def _end(group: Path) -> None:
    """Kill every process of a group and remove it; one whose processes take long to die is left to the next sweep."""
    for pid in _text(str(group / "cgroup.procs")).split():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(int(pid), signal.SIGKILL)
    for _ in range(_REMOVALS_MAX):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(_REMOVAL_PAUSE_S)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _memberships(text: str) -> list[tuple[str, str, str]]:
    return [(parts[0], parts[1], parts[2]) for line in text.splitlines() if len(parts := line.split(":", 2)) == 3]


def _mounts(text: str, kind: str, controller: str | None) -> tuple[str, str] | None:
    """Root and mount point of the hierarchy."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        found, _, options = right.split(" ", 2) if right.count(" ") >= 2 else ("", "", "")
        if found == kind and (controller is None or controller in options.split(" ")[-1].split(",")):
            return left.split()[3], left.split()[4]
    return None


def _usable(own: str | None, mount: tuple[str, str] | None, *files: str) -> Path | None:
    """This process's own group when a group below it can be made and has the files."""
    if own is None or mount is None:
        return None
    root, point = mount
    folder = Path(point, (own.removeprefix(root) if own.startswith(root) else own).lstrip("/"))
    probe = folder / f"{PREFIX}{os.getpid()}-probe"
    try:
        probe.mkdir()
    except OSError:
        return None
    try:
        if not (probe / files[0]).exists():
            # Version 2: a group hands its controllers down only when told to, and only when no process is in it.
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text("+memory +pids")
        return folder if all(os.access(probe / name, os.W_OK) for name in files) else None
    finally:
        with contextlib.suppress(OSError):
            probe.rmdir()
