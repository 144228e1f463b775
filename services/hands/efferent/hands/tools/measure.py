"""Counts what a session keeps on disk. Runs with the sandbox's own rights over its files, so nothing can be hidden."""

import errno
import os
from typing import Final

from efferent.hands.tools.requests import Measure, Reply, text_reply

BLOCK_BYTES: Final = 512
"""The unit of ``st_blocks``, whatever the file system's own is."""


def measure(request: Measure) -> Reply:
    """Bytes and files below the paths, as ``<bytes> <files>``; the true figures are at least these."""
    total_bytes = files = 0
    waiting = list(request.paths)
    seen: set[int] = set()
    while waiting and total_bytes <= request.bytes_max and files <= request.files_max:
        folder = waiting.pop()
        try:
            for entry in os.scandir(folder):
                files += 1
                if (status := _status(entry)) is None:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                if status.st_ino not in seen:
                    total_bytes += status.st_blocks * BLOCK_BYTES
                if status.st_nlink > 1:
                    seen.add(status.st_ino)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                continue  # it vanished meanwhile
            files = request.files_max + 1  # nested too deep to be counted: nothing honest looks like this
    return text_reply(f"{total_bytes} {files}")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # deleted since the folder was read; the others in it still count
