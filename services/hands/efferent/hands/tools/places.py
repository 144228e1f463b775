"""Paths as the model writes them, and the files that they mean.

Inside a real sandbox both are the same. The ``process`` backend has no root of its own: there the places of a session
(/workspace and others) stand for folders of the host.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from efferent.hands.tools.failure import ToolFailure, reason

WORKSPACE = "/workspace"


@dataclass(frozen=True, slots=True)
class Places:
    """Where each place of a session is; empty when paths mean what they say."""

    folders: tuple[tuple[str, str], ...] = ()

    def absolute(self, path: str) -> str:
        """The path as the model would write it in full. Raises ToolFailure for a path that cannot be one."""
        if not path or "\0" in path:
            raise ToolFailure("a path must not be empty or hold a null character")
        joined = os.path.join(WORKSPACE, path)
        # With symbolic links in a path, only the kernel knows where ".." leads.
        return joined if ".." in path.split("/") else "/" + os.path.normpath(joined).lstrip("/")

    def real(self, path: str) -> str:
        """The file that the path means."""
        full = self.absolute(path)
        for place, folder in self.folders:
            if full == place or full.startswith(place + "/"):
                return folder + full[len(place) :]
        return full


@contextmanager
def opened(places: Places, path: str, flags: int) -> Iterator[int]:
    """A regular file's descriptor. Never blocks on what is not a regular file. Raises ToolFailure."""
    try:
        descriptor = os.open(places.real(path), flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ToolFailure(f"{path}: {reason(error)}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise ToolFailure(f"{path}: is a directory")
        if not stat.S_ISREG(mode):
            raise ToolFailure(f"{path}: not a regular file")
        yield descriptor
    except OSError as error:
        raise ToolFailure(f"{path}: {reason(error)}") from error
    finally:
        os.close(descriptor)


def read_up_to(descriptor: int, bytes_max: int) -> bytes:
    """The file's first bytes, at most ``bytes_max``."""
    parts: list[bytes] = []
    left = bytes_max
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """Make ``data`` the whole content of an open file."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
