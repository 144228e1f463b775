"""The tool ``grep``: files by content. A pattern that takes too long is ended by the tool's own deadline."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from efferent.hands.tools.failure import ToolFailure
from efferent.hands.tools.patterns import path_matcher
from efferent.hands.tools.places import Places
from efferent.hands.tools.requests import Grep, Reply, text_reply
from efferent.hands.tools.walk import files_below, searched

PATTERN_LENGTH_MAX: Final = 10_000
PATHS_MAX: Final = 5_000
FILE_BYTES_MAX: Final = 256 * 1024 * 1024
NOTHING_FOUND: Final = "No matches found"

_CHUNK_BYTES: Final = 1 << 20
_SNIFF_BYTES: Final = 8192
_SKIPPED_FOLDERS: Final = frozenset({".git"})
_POSIX_CLASSES: Final = {
    "[:alpha:]": "a-zA-Z", "[:digit:]": "0-9", "[:alnum:]": "a-zA-Z0-9", "[:space:]": r"\s", "[:upper:]": "A-Z",
    "[:lower:]": "a-z", "[:punct:]": r"!-/:-@\[-`{-~", "[:xdigit:]": "0-9A-Fa-f",
}  # fmt: skip


def grep(request: Grep, places: Places) -> Reply:
    """Find the files. Raises ToolFailure."""
    expression = _compiled(request.pattern)
    real, shown, is_folder = searched(places, request.path)
    paths_max = min(request.head_limit or PATHS_MAX, PATHS_MAX)
    if paths_max < 0:
        raise ToolFailure("head_limit must not be negative")
    candidates = _below(real, shown, request.glob) if is_folder else iter([(real, request.path or real)])
    found: list[str] = []
    for path, name in candidates:
        if _matches(path, expression):
            found.append(name)
            if len(found) >= paths_max:
                break
    return text_reply("\n".join(found) or NOTHING_FOUND)


def _compiled(pattern: str) -> re.Pattern[str]:
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise ToolFailure(f"the pattern is longer than {PATTERN_LENGTH_MAX} characters")
    for name, members in _POSIX_CLASSES.items():
        pattern = pattern.replace(name, members)
    try:
        with warnings.catch_warnings(action="ignore"):
            return re.compile(pattern, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ToolFailure(f"the pattern is not a regular expression: {error}") from error


def _below(folder: str, shown: str, pattern: str | None) -> Iterator[tuple[str, str]]:
    """Path and shown name of each file to search."""
    wanted = _name_filter(pattern)
    for relative, _ in files_below(folder, _SKIPPED_FOLDERS):
        if wanted(relative):
            yield os.path.join(folder, relative), shown + relative


def _name_filter(pattern: str | None) -> Callable[[str], bool]:
    if not pattern:
        return lambda _: True
    matches = path_matcher(pattern.removeprefix("!").removeprefix("/")).fullmatch
    is_negated = pattern.startswith("!")
    return lambda path: (matches(path) is not None) != is_negated


def _matches(path: str, expression: re.Pattern[str]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return any(expression.search(text) for text in _texts(file))
    except OSError:
        return False  # unreadable files are passed over, as the well-known tools do


def _texts(file: BinaryIO) -> Iterator[str]:
    """The file in pieces that end at line ends; nothing for a binary file."""
    left, rest = FILE_BYTES_MAX, b""
    is_first = True
    while left > 0 and (chunk := file.read(_CHUNK_BYTES)):
        if is_first and b"\0" in chunk[:_SNIFF_BYTES]:
            return
        is_first, left = False, left - len(chunk)
        whole, newline, after = (rest + chunk).rpartition(b"\n")
        if newline or len(after) > _CHUNK_BYTES:
            yield (whole + newline if newline else after).decode(errors="replace")
            rest = after if newline else b""
        else:
            rest = after
    if rest:
        yield rest.decode(errors="replace")
