"""Ports of the hands: a sandbox that runs commands and file tools, and the backend that starts one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from efferent.hands.folder import SessionFolder
from efferent.hands.tools.requests import FileRequest, Reply


class HandsError(Exception):
    """Base of what can go wrong with a sandbox, as opposed to with what runs in it."""


class SandboxFailed(HandsError):
    """A sandbox could not be started; the message says why and, where it is known, what to do."""


class SandboxDied(HandsError):
    """The sandbox ended while a call was running in it."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The command ended by itself; the shell lives on unless ``ended_shell``."""

    code: int
    ended_shell: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The command was stopped at its deadline, and its shell with it."""

    after_s: float


CommandEnd = Exited | TimedOut


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended and what it printed."""

    end: CommandEnd
    output: bytes
    """The first and last parts when there was more than the limit."""
    output_bytes: int
    """Everything that it printed, also what was left out."""
    note: str | None = None
    """What the model has to know beside the output."""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What a session keeps on disk; counting stops at the limits."""

    used_bytes: int
    files: int


class Sandbox(Protocol):
    """A live sandbox of one session."""

    @property
    def is_alive(self) -> bool:
        """Whether calls can still run in it."""

    async def run(self, command: str, timeout_s: float, on_output: Callable[[bytes], None]) -> CommandResult:
        """Run a command in the session's shell; one at a time. Raises SandboxDied.

        Cancelling stops the command, its children and the shell.
        """

    async def restart_shell(self) -> None:
        """End the shell; the next command gets a fresh one. Raises SandboxDied."""

    async def file_tool(self, request: FileRequest) -> Reply:
        """Run a file tool with the sandbox's view of the files. Raises SandboxDied."""

    async def disk_usage(self) -> DiskUsage:
        """Count what the session keeps on disk. Raises SandboxDied."""

    def memory_bytes(self) -> int | None:
        """Memory in use by all its processes; None where the kernel enforces the limit itself."""

    def memory_kills(self) -> int:
        """How often the kernel has killed a process of it for want of memory."""

    async def kill(self) -> None:
        """End every process of it and return when none is left. Repeating it is harmless."""


class Backend(Protocol):
    """A way to make sandboxes."""

    @property
    def name(self) -> str:
        """``bubblewrap`` or ``process``."""

    async def start(self, folder: SessionFolder) -> Sandbox:
        """Start a sandbox on a prepared folder. Raises SandboxFailed."""

    async def remove(self, folder: SessionFolder) -> None:
        """Delete the folder, whatever rights its files were given. Repeating it is harmless."""

    async def close(self) -> None:
        """End every sandbox."""
