"""What the hands ask of the launcher: one datagram per request, its file descriptors beside it."""

import json
from dataclasses import asdict, dataclass
from typing import Final

MESSAGE_BYTES_MAX: Final = 64 * 1024
DESCRIPTORS_MAX: Final = 4

CONTROL_FD: Final = 3
"""Where a sandbox's first process finds its end of the control socket."""
INFO_FD: Final = 4
"""Where bubblewrap writes the pid of the sandbox's init."""
SECCOMP_FD: Final = 5
"""Where bubblewrap reads the system call filter."""

STAGE: Final = "/mnt"
"""Folder that is replaced, in a mount namespace of the starting process alone, by binds of what an unprivileged uid
could not reach by its path: a session's folder may lie below a home folder of mode 0700."""


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A cgroup to make and to join."""

    folder: str
    values: tuple[tuple[str, str], ...]
    """File and value of each limit."""


@dataclass(frozen=True, slots=True)
class Spare:
    """Have a process ready for a sandbox that is asked for later with the same groups.

    To join a cgroup takes the kernel ten milliseconds or more; a spare process has done so before anybody waits for it.
    It belongs to no session and has run nothing.
    """

    groups: tuple[ControlGroup, ...]
    limits: tuple[tuple[str, int], ...]
    has_own_mounts: bool


@dataclass(frozen=True, slots=True)
class StartSandbox:
    """Start a sandbox's first process. Descriptors: control socket, pipe for errors, pipe for bubblewrap's info."""

    argv: tuple[str, ...]
    environ: dict[str, str]
    folder: str
    uid: int | None
    """The uid to become before ``argv`` runs; None keeps the launcher's own."""
    staged: tuple[tuple[str, str], ...]
    """Source path and name below ``STAGE`` of each bind; only with a uid."""
    limits: tuple[tuple[str, int], ...]
    """Resource limits: name as in the module ``resource``, value for both soft and hard."""
    groups: tuple[ControlGroup, ...]
    is_kept: bool
    """Keep a process above ``argv`` that ends everything which ``argv`` started when it is told to stop."""


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a file tool. Descriptors: the socket that holds the request and takes the reply, and (inside) a pidfd."""

    is_inside: bool
    """Whether to enter the namespaces of the pidfd first."""
    uid: int | None
    keeps_rights: bool
    """Keep the rights over the sandbox's own files, to see those that were made unreadable. For counting only."""
    folders: tuple[tuple[str, str], ...]
    """Places of a session and the host's folders that they are (``Places.folders``)."""
    timeout_s: float
    memory_bytes_max: int
    file_bytes_max: int


Request = Spare | StartSandbox | RunTool


def encode(request: Request) -> bytes:
    """Write a request. Raises ValueError when it is too long for a datagram."""
    data = json.dumps([type(request).__name__, asdict(request)]).encode()
    if len(data) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a request of {len(data)} bytes to the launcher")
    return data


def decode(data: bytes) -> Request:
    """Read what ``encode`` wrote."""
    name, fields = json.loads(data)
    if name == "RunTool":
        return RunTool(**{**fields, "folders": _pairs(fields["folders"])})
    groups = tuple(ControlGroup(group["folder"], _pairs(group["values"])) for group in fields["groups"])
    fields = {**fields, "groups": groups, "limits": _limits(fields["limits"])}
    return Spare(**fields) if name == "Spare" else StartSandbox(**fields)


def _limits(pairs: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in pairs)


def _pairs(pairs: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first, second in pairs)
