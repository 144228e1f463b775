"""The tool ``glob``: files by name, newest first."""

import heapq
import os
from typing import Final

from efferent.hands.tools.failure import ToolFailure
from efferent.hands.tools.patterns import path_matcher
from efferent.hands.tools.places import Places
from efferent.hands.tools.requests import Glob, Reply, text_reply
from efferent.hands.tools.walk import files_below, searched

RESULTS_MAX: Final = 100
NOTHING_FOUND: Final = "No files found"


def glob(request: Glob, places: Places) -> Reply:
    """Find the files. Raises ToolFailure."""
    pattern, path = _split_absolute(request.pattern, request.path)
    matches = path_matcher(pattern).fullmatch
    real, shown, is_folder = searched(places, path)
    if not is_folder:
        raise ToolFailure(f"{path}: not a directory")
    found = ((_modified(entry), relative) for relative, entry in files_below(real) if matches(relative))
    newest = heapq.nlargest(RESULTS_MAX, found)
    return text_reply("\n".join(shown + relative for _, relative in newest) or NOTHING_FOUND)


def _split_absolute(pattern: str, path: str | None) -> tuple[str, str | None]:
    """An absolute pattern names the folder to search itself: everything before its first special character."""
    if not pattern.startswith("/"):
        return pattern, path
    folders = pattern.split("/")[:-1]
    plain = next((at for at, name in enumerate(folders) if any(mark in name for mark in "*?[{\\")), len(folders))
    rest = pattern.split("/")[plain:]
    folder = "/".join(folders[:plain]) or "/"
    return "/".join(rest) if len(rest) > 1 else f"./{rest[0]}", folder


def _modified(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:
        return 0
