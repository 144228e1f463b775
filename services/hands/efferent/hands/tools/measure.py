"""Counts what a session keeps on disk. Runs with the sandbox's own rights over its files, so nothing can be hidden."""

import errno
import os

from efferent.hands.tools.requests import Measure, Reply, text_reply

BLOCK_BYTES = 512


def measure(request: Measure) -> Reply:
    """Bytes and files below the paths, as ``<bytes> <files>``; the true figures are at least these."""
    total_bytes = files = 0
    waiting = list(request.paths)
    seen: set[int] = set()
    while waiting and total_bytes <= request.bytes_max and files <= request.files_max:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                files = request.files_max + 1  # nested too deep to be counted: nothing honest looks like this
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            files += 1
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total_bytes += status.st_blocks * BLOCK_BYTES
    return text_reply(f"{total_bytes} {files}")
