"""Deleting a session's folder: an untrusted tree, whose owner may have made parts of it unreadable."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from efferent.hands.folder import SessionFolder

_DOOMED: Final = ".deleted"


async def delete_isolated(folder: SessionFolder) -> None:
    """Delete the folder. It loses its name first, so that a new one can take its place at once. Raises OSError."""
    await asyncio.to_thread(_delete, folder.path)


def clear_deleted(sessions: Path) -> None:
    """Finish deletions that were cut short."""
    for doomed in sessions.glob(f".*{_DOOMED}"):
        with contextlib.suppress(OSError):
            _remove(doomed)


def _delete(path: Path) -> None:
    doomed = path.with_name(f".{path.name}{_DOOMED}")
    _remove(doomed)
    if path.exists():
        path.rename(doomed)
        _remove(doomed)


def _remove(path: Path) -> None:
    try:
        # It opens every folder without following links: a tree that changes below it cannot lead it elsewhere.
        shutil.rmtree(path, onexc=_open_up)
    except (OSError, RecursionError):
        # Nested deeper than it can open folders at once. The system's own tool has no such limit.
        subprocess.run(["rm", "-rf", "--", str(path)], check=False, stderr=subprocess.DEVNULL)  # noqa: S603, S607
    if path.exists():
        raise OSError(f"{path} cannot be deleted")


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
