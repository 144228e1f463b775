"""Blobs in a folder of the local disk: durable before they are named, whole or absent, never half."""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Final

_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_KEY_LENGTH_MAX: Final = 512
_DRAFTS: Final = ".drafts"
"""No key starts with a dot, so drafts can never be taken for blobs."""


class LocalFolderBlobs:
    """Each blob is a file below ``folder``, named by its key; see the port ``BlobStore``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, data: bytes) -> None:
        """Store durably: the file and its folders are fsynced. Raises ValueError for a key that is no key, OSError."""
        path = self._path(key)
        await asyncio.to_thread(_write, self._folder, path, data)

    async def get(self, key: str) -> bytes:
        """The bytes. Raises KeyError when there are none, ValueError, OSError."""
        path = self._path(key)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyError(key) from error

    async def delete(self, prefix: str) -> None:
        """Delete every blob whose key starts with the prefix; repeating it is harmless. Raises ValueError, OSError."""
        path = self._path(prefix.removesuffix("/"))
        await asyncio.to_thread(_delete, self._folder, path, prefix.endswith("/"))

    def _path(self, key: str) -> Path:
        if len(key) > _KEY_LENGTH_MAX or _KEY.fullmatch(key) is None:
            raise ValueError(f"not a blob key: {key[:80]!r}")
        return self._folder / key


def _write(folder: Path, path: Path, data: bytes) -> None:
    drafts = folder / _DRAFTS
    _make_folder(drafts)
    _make_folder(path.parent)
    draft = drafts / secrets.token_hex(16)
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; each new name is made durable in the folder that holds it."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(folder: Path, path: Path, whole_name: bool) -> None:
    """Delete what lies at the path, and, unless the last name is whole, everything beside it that starts with it."""
    if not path.parent.is_dir():
        return
    beside = (entry for entry in path.parent.iterdir() if entry.name.startswith(path.name))
    found = [entry for entry in beside if not whole_name or (entry == path and entry.is_dir())]
    for entry in found:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=False)
        else:
            entry.unlink(missing_ok=True)
    if found:
        _sync_folder(path.parent)
