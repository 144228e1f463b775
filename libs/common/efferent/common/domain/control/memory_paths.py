"""Paths of memories: what can be one, and how a list shows them.

Paths are compared as they are written, by code point, which is also the order of their UTF-8 bytes.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from efferent.common.domain.refusals import InvalidRequest

PATH_BYTES_MAX: Final = 1_024
SEGMENTS_MAX: Final = 20

_FORBIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats, lone surrogates, and the separators of lines and paragraphs."""


def checked_path(path: str, place: str = "path") -> str:
    """The path. Raises InvalidRequest, which names ``place``."""
    if not path.startswith("/"):
        raise InvalidRequest(f"{place}: must start with /")
    if any(unicodedata.category(character) in _FORBIDDEN for character in path):
        raise InvalidRequest(f"{place}: must not contain control or format characters or line separators")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise InvalidRequest(f"{place}: must be at most {PATH_BYTES_MAX} bytes long")
    if not unicodedata.is_normalized("NFC", path):
        raise InvalidRequest(f"{place}: must be in Unicode Normalization Form C")
    segments = path.split("/")[1:]
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidRequest(f'{place}: no segment may be empty, "." or ".."')
    if len(segments) > SEGMENTS_MAX:
        raise InvalidRequest(f"{place}: must have at most {SEGMENTS_MAX} segments")
    return path


def checked_prefix(prefix: str) -> str:
    """The start of paths, up to the end of a segment. Raises InvalidRequest."""
    if not prefix.endswith("/"):
        raise InvalidRequest("path_prefix: must end with /")
    if prefix != "/":
        checked_path(prefix[:-1], "path_prefix")
    return prefix


@dataclass(frozen=True, slots=True)
class ListedPath:
    """One line of a list: a memory, or with a slash at its end a folder."""

    path: str

    @property
    def is_prefix(self) -> bool:
        """Whether it stands for everything below."""
        return self.path.endswith("/")


def list_paths(
    paths: Iterable[str], *, prefix: str, is_shallow: bool, after: str | None, limit: int
) -> list[ListedPath]:
    """Up to ``limit`` lines behind ``after``, of paths that are given in order.

    ``is_shallow``: only direct children of the prefix; what lies deeper is one line per folder.
    """
    return list(islice(_lines(paths, prefix, is_shallow, after), limit))


def _lines(paths: Iterable[str], prefix: str, is_shallow: bool, after: str | None) -> Iterable[ListedPath]:
    last = after
    for path in paths:
        if not path.startswith(prefix):
            continue
        folder, slash, _ = path[len(prefix) :].partition("/")
        line = f"{prefix}{folder}/" if is_shallow and slash else path
        if last is None or line > last:
            last = line
            yield ListedPath(line)
