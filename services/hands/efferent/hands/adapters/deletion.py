"""Deleting a session's folder: an untrusted tree, whose owner may have made parts of it unreadable."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from efferent.hands.folder import SessionFolder


async def delete_isolated(folder: SessionFolder) -> None:
    """Delete the folder. It loses its name first, so that a new one can take its place at once. Raises OSError."""
    await asyncio.to_thread(_delete, folder.path)


def _delete(path: Path) -> None:
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name}.deleted")
    if doomed.exists():
        _remove(doomed)
    path.rename(doomed)
    _remove(doomed)


def _remove(path: Path) -> None:
    # rmtree opens every folder without following links: a tree that changes below it cannot lead it elsewhere.
    shutil.rmtree(path, onexc=_open_up)


def _open_up(function: Callable[..., object], path: str, error: BaseException) -> None:
    """Give ourselves the rights on a folder that its owner took, and try once more."""
    if isinstance(error, FileNotFoundError):
        return
    if not isinstance(error, PermissionError):
        raise error
    for folder in (os.path.dirname(path), path):
        if not os.path.islink(folder) and os.path.isdir(folder):
            os.chmod(folder, 0o700)
    if function in (os.open, os.scandir, os.lstat):
        shutil.rmtree(path, ignore_errors=False)
    else:
        function(path)
