"""A sandbox that the launcher started: what both backends have in common once its first process runs."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from efferent.hands import processes
from efferent.hands.adapters.control import LINE_BYTES_MAX, Control
from efferent.hands.adapters.control_groups import Groups
from efferent.hands.adapters.launcher import Launcher
from efferent.hands.adapters.shell import Shell
from efferent.hands.folder import WRITABLE, SessionFolder
from efferent.hands.launcher.messages import RunTool, StartSandbox
from efferent.hands.ports import CommandResult, DiskUsage, SandboxDied, SandboxFailed, TimedOut
from efferent.hands.settings import HandsSettings
from efferent.hands.tools.requests import FileRequest, Measure, Reply

FILE_TOOL_MEMORY_BYTES_MAX: Final = 1 << 30
KILL_WITHIN_S: Final = 5.0
_ERROR_BYTES_MAX: Final = 4096
_INFO_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Launch:
    """How a sandbox is started, and how its files are reached afterwards."""

    start: StartSandbox
    groups: Groups
    is_isolated: bool
    """Whether it has namespaces that a file tool has to enter."""
    places: tuple[tuple[str, str], ...]
    """Places of the session and the host's folders that they are; empty when it is isolated."""
    writable: tuple[str, ...] = tuple(WRITABLE)
    """Places whose files count as the session's."""


class LaunchedSandbox:
    """A live sandbox. Implements ``efferent.hands.ports.Sandbox``."""

    def __init__(
        self,
        launch: Launch,
        folder: SessionFolder,
        settings: HandsSettings,
        launcher: Launcher,
        control: Control,
        pid: int,
    ) -> None:
        self._launch = launch
        self._folder = folder
        self._settings = settings
        self._launcher = launcher
        self._control = control
        self._pid = pid
        self._pidfd: int | None = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self._shell = Shell(control, folder.part("run"), pid, settings.output_bytes_max)
        self._is_broken = False
        self._is_killed = False

    @property
    def is_alive(self) -> bool:
        """Whether calls can still run in it."""
        return not self._is_killed and not self._is_broken and self._control.is_open

    async def run(self, command: str, timeout_s: float, on_output: Callable[[bytes], None]) -> CommandResult:
        """Run a command in the session's shell. Raises SandboxDied."""
        with self._broken_by_failure():
            result = await self._shell.run(command, timeout_s, on_output)
        if isinstance(result.end, TimedOut) and self._is_crowded():
            self._break()
        return result

    async def restart_shell(self) -> None:
        """End the shell. Raises SandboxDied."""
        with self._broken_by_failure():
            await self._shell.restart()

    async def file_tool(self, request: FileRequest) -> Reply:
        """Run a file tool. Raises SandboxDied."""
        if not self.is_alive:
            raise SandboxDied("the sandbox has ended")
        spec = RunTool(
            is_inside=self._launch.is_isolated,
            uid=self._launch.start.uid,
            keeps_rights=isinstance(request, Measure),
            folders=self._launch.places,
            timeout_s=self._settings.file_tool_timeout_s,
            memory_bytes_max=FILE_TOOL_MEMORY_BYTES_MAX,
            file_bytes_max=self._settings.disk_bytes_max,
        )
        return await self._launcher.file_tool(spec, self._pidfd if self._launch.is_isolated else None, request)

    async def disk_usage(self) -> DiskUsage:
        """Count what the session keeps on disk. Raises SandboxDied."""
        named = dict(self._launch.places)
        paths = tuple(named.get(place, place) for place in self._launch.writable)
        reply = await self.file_tool(Measure(paths, self._settings.disk_bytes_max, self._settings.files_max))
        if reply.is_error:
            raise SandboxDied(f"its files cannot be counted: {reply.blocks[0].get('text')}")
        used_bytes, files = str(reply.blocks[0]["text"]).split()
        return DiskUsage(int(used_bytes), int(files))

    def memory_bytes(self) -> int | None:
        """Memory in use; None where a cgroup limits it."""
        return None if self._launch.groups.memory is not None else processes.resident_bytes(self._pid)

    def memory_kills(self) -> int:
        """How often the kernel has killed for want of memory."""
        return self._launch.groups.memory_kills()

    async def kill(self) -> None:
        """End every process and return when none is left."""
        if self._is_killed:
            return
        self._is_killed = True
        self._signal()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_WITHIN_S):
                await self._gone()
        self._shell.close()
        self._control.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _signal(self) -> None:
        # The init of a PID namespace takes everything with it. A keeper is asked, so that it can do the same.
        number = signal.SIGKILL if self._launch.is_isolated else signal.SIGTERM
        with contextlib.suppress(OSError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self._pid, number)

    async def _gone(self) -> None:
        """Return when the first process is dead: the kernel, or the keeper, lets it die last."""
        if self._pidfd is None:
            with contextlib.suppress(SandboxDied):
                while True:
                    await self._control.receive()
            return
        loop = asyncio.get_running_loop()
        dead = asyncio.Event()
        loop.add_reader(self._pidfd, dead.set)
        try:
            await dead.wait()
        finally:
            loop.remove_reader(self._pidfd)

    @contextlib.contextmanager
    def _broken_by_failure(self) -> Iterator[None]:
        """A sandbox whose shell does not answer any more is of no use: end it."""
        try:
            yield
        except SandboxDied:
            self._break()
            raise

    def _is_crowded(self) -> bool:
        """Whether so many processes outlived their shell that the next one could not work."""
        return len(processes.descendants(self._pid)) > self._settings.processes_max // 2

    def _break(self) -> None:
        """End the sandbox because it is of no use any more; the next call gets another."""
        self._is_broken = True
        self._signal()


async def launch_sandbox(
    launch: Launch, folder: SessionFolder, settings: HandsSettings, launcher: Launcher
) -> LaunchedSandbox:
    """Start a sandbox and wait until it takes calls. Raises SandboxFailed."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_BYTES_MAX)
    control = Control(reader, writer)
    (errors, errors_in), (info, info_in) = os.pipe(), os.pipe()
    for descriptor in (errors, info):
        os.set_blocking(descriptor, False)
    try:
        with theirs:
            await launcher.ask(launch.start, (theirs.fileno(), errors_in, info_in))
        async with asyncio.timeout(settings.start_timeout_s):
            while await control.receive() != ["ready"]:
                pass
        pid = int(json.loads(os.read(info, _INFO_BYTES_MAX))["child-pid"])
        return LaunchedSandbox(launch, folder, settings, launcher, control, pid)
    except (SandboxDied, OSError, ValueError, LookupError) as error:
        control.close()
        raise SandboxFailed(_words(errors) or "the sandbox ended before it was ready") from error
    except BaseException:
        control.close()
        raise
    finally:
        for descriptor in (errors, errors_in, info, info_in):
            os.close(descriptor)


def _words(errors: int) -> str:
    """What the sandbox's first process had to say when it failed."""
    try:
        return os.read(errors, _ERROR_BYTES_MAX).decode(errors="replace").strip()
    except OSError:
        return ""
