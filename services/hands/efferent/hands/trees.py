"""Reading and writing in folders that a sandbox can write: no link that was put there leads anywhere.

Every name is opened by itself, below the folder that was opened before, and never followed when it is a link.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEPTH_MAX: Final = 32
"""Folders in folders that are looked into."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DRAFT: Final = ".efferent-draft"


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file of a tree."""

    path: str
    """Below the tree's root."""
    size_bytes: int
    stamp: str
    """Changes whenever the file does."""


class NotThere(Exception):
    """There is no such regular file, or it is not the one that was meant."""


def walk(root: Path, files_max: int) -> Iterator[Found]:
    """The regular files of a tree in the order of their names, at most so many; those whose names are no text not."""
    left = files_max
    with contextlib.suppress(OSError):
        for found in _walk_below(os.open(root, _FOLDER), "", DEPTH_MAX):
            if left <= 0:
                return
            left -= 1
            yield found


@contextmanager
def opened(root: Path, path: str) -> Iterator[tuple[int, Found]]:
    """A descriptor of a regular file below the root. Raises NotThere."""
    descriptor = -1
    try:
        with _parent(root, path) as (parent, name):
            descriptor = os.open(name, _FILE, dir_fd=parent)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotThere(path)
        yield descriptor, _found(path, status)
    except OSError as error:
        raise NotThere(path) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def is_gone(root: Path, path: str) -> bool:
    """Whether there is certainly nothing of this name below the root: not when it cannot be looked at."""
    try:
        with _parent(root, path) as (parent, name):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return root.is_dir()
    except OSError:
        return False
    return False


def write(root: Path, path: str, data: bytes, uid: int | None) -> str:
    """Make a file of these bytes, with the folders above it; the file's stamp. Raises OSError."""
    with _parent(root, path, make_for=(uid,)) as (parent, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_DRAFT, dir_fd=parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_DRAFT, flags, 0o644, dir_fd=parent)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if uid is not None:
                os.fchown(descriptor, uid, uid)
            os.rename(_DRAFT, name, src_dir_fd=parent, dst_dir_fd=parent)
            return _found(path, os.fstat(descriptor)).stamp
        finally:
            os.close(descriptor)


def delete(root: Path, path: str) -> None:
    """Remove a file, and the folders above it that are empty then; what is not there is left alone. Raises OSError."""
    parts = path.split("/")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), _parent(root, path) as (parent, name):
        os.unlink(name, dir_fd=parent)
    for depth in range(len(parts) - 1, 0, -1):
        try:
            with _parent(root, "/".join(parts[:depth])) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return  # not empty, or gone


def read_all(descriptor: int, bytes_max: int) -> bytes:
    """An open file's first bytes."""
    parts: list[bytes] = []
    while bytes_max > 0 and (part := os.read(descriptor, min(bytes_max, 1 << 20))):
        parts.append(part)
        bytes_max -= len(part)
    return b"".join(parts)


@contextmanager
def _parent(root: Path, path: str, *, make_for: tuple[int | None] | None = None) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that holds the name, made on the way when asked. Raises OSError."""
    *folders, name = path.split("/")
    if any(part in ("", ".", "..") for part in (*folders, name)):
        raise NotADirectoryError(path)
    folder = os.open(root, _FOLDER)
    try:
        for part in folders:
            if make_for is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
                    if make_for[0] is not None:
                        os.chown(part, make_for[0], make_for[0], dir_fd=folder, follow_symlinks=False)
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder, name
    finally:
        os.close(folder)


def _walk_below(folder: int, prefix: str, depth: int) -> Iterator[Found]:
    try:
        for name in sorted(os.listdir(folder)):
            if name == _DRAFT or not _is_text(name):
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield _found(prefix + name, status)
                elif stat.S_ISDIR(status.st_mode) and depth > 0:
                    yield from _walk_below(os.open(name, _FOLDER, dir_fd=folder), f"{prefix}{name}/", depth - 1)
            except OSError:
                continue  # it vanished, or its owner closed it
    finally:
        os.close(folder)


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: others cannot be told to anybody."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _found(path: str, status: os.stat_result) -> Found:
    return Found(path, status.st_size, f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}")
