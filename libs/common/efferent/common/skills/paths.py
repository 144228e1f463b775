"""Paths inside a skill: which ones are taken, and which are somebody's file manager's own."""

import re
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

PATH_BYTES_MAX: Final = 1_024
NAME_BYTES_MAX: Final = 255
DEPTH_MAX: Final = 32

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_JUNK_FOLDER: Final = "__MACOSX"
_JUNK_FILES: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def is_junk(path: str) -> bool:
    """What file managers put beside people's files when they pack a folder; it is left out without a word."""
    names = path.split("/")
    return names[0] == _JUNK_FOLDER or names[-1] in _JUNK_FILES


def checked_path(path: str) -> str:
    """A path that stays inside the folder that it is unpacked in. Raises InvalidRequest."""
    problem = _problem(path)
    if problem is not None:
        raise InvalidRequest(f"files: {path[:200]!r} is not the path of a skill's file: {problem}")
    return path


def _problem(path: str) -> str | None:
    if not path:
        return "it is empty"
    if path.startswith("/") or _DRIVE.match(path):
        return "it is absolute"
    if "\\" in path:
        return "it has a backslash"
    if _CONTROL.search(path):
        return "it has a control character"
    names = path.split("/")
    if ".." in names:
        return 'it has ".."'
    if "" in names or "." in names:
        return "it has an empty name"
    if len(names) > DEPTH_MAX:
        return f"it is more than {DEPTH_MAX} folders deep"
    try:
        too_long = len(path.encode()) > PATH_BYTES_MAX or any(len(name.encode()) > NAME_BYTES_MAX for name in names)
    except UnicodeEncodeError:
        return "it is not Unicode"
    return "it is too long" if too_long else None
