"""Every file below a folder, without ever following a symbolic link to a folder."""

import os
import stat
from collections.abc import Iterator
from typing import Final

from efferent.hands.tools.failure import ToolFailure, reason
from efferent.hands.tools.places import Places

ENTRIES_MAX: Final = 200_000


def files_below(folder: str, skipped_folders: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative path and entry of each regular file, folder by folder. Raises ToolFailure when there are too many."""
    left = ENTRIES_MAX
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(folder, prefix)))
        except OSError:
            continue  # it vanished, or its owner made it unreadable
        if (left := left - len(entries)) < 0:
            raise ToolFailure(f"there are more than {ENTRIES_MAX} files; search in a smaller folder")
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in skipped_folders:
                    waiting.append(path + "/")
            elif _is_file(entry):
                yield path, entry


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a loop of symbolic links


def searched(places: Places, path: str | None) -> tuple[str, str, bool]:
    """Real path of what is searched, the prefix of the paths in the answer, and whether it is a folder.

    Raises ToolFailure when there is nothing at the path.
    """
    real = places.real(path or ".")
    try:
        is_folder = stat.S_ISDIR(os.stat(real).st_mode)
    except OSError as error:
        raise ToolFailure(f"{path or '/workspace'}: {reason(error)}") from error
    shown = "" if path in (None, "", ".", "./") else os.path.join(path or "", "")
    return real, shown, is_folder
