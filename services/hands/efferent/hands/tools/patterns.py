"""Glob patterns as regular expressions over relative paths: ``*``, ``?``, ``[...]``, ``**`` and ``{a,b}``. Pure."""

import re
from typing import Final

from efferent.hands.tools.failure import ToolFailure

PATTERN_LENGTH_MAX: Final = 1_000


def path_matcher(pattern: str) -> re.Pattern[str]:
    """What a path relative to the searched folder has to match. Raises ToolFailure for a malformed pattern.

    A pattern without a slash matches in every folder, as ``**/`` in front of it would.
    """
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise ToolFailure(f"the pattern is longer than {PATTERN_LENGTH_MAX} characters")
    if not pattern or "\0" in pattern:
        raise ToolFailure("the pattern is empty or holds a null character")
    if ".." in pattern.split("/"):
        raise ToolFailure("the pattern must not hold '..'; use path to name another folder")
    anchored = pattern if "/" in pattern else f"**/{pattern}"
    return re.compile(_translated(anchored.removeprefix("./")), re.DOTALL)


def _translated(pattern: str) -> str:
    parts: list[str] = []
    at, depth = 0, 0
    while at < len(pattern):
        token, at = _token(pattern, at, depth)
        depth += {"(?:": 1, ")": -1}.get(token, 0)
        parts.append(token)
    if depth:
        raise ToolFailure(f"the pattern {pattern!r} has a '{{' that is never closed")
    return "".join(parts)


def _token(pattern: str, at: int, depth: int) -> tuple[str, int]:
    """The expression for what stands at this place, and the place after it."""
    if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] in "/{,"):
        return "(?:.*/)?", at + 3
    if pattern.startswith("**", at):
        return ".*", at + 2
    match pattern[at]:
        case "*":
            return "[^/]*", at + 1
        case "?":
            return "[^/]", at + 1
        case "[":
            return _character_class(pattern, at)
        case "{":
            return "(?:", at + 1
        case "," if depth:
            return "|", at + 1
        case "}" if depth:
            return ")", at + 1
        case "\\" if at + 1 < len(pattern):
            return re.escape(pattern[at + 1]), at + 2
        case character:
            return re.escape(character), at + 1


def _character_class(pattern: str, at: int) -> tuple[str, int]:
    start = at + 2 if pattern[at + 1 : at + 2] in ("!", "^") else at + 1
    end = pattern.find("]", start + 1)
    if end < 0:
        raise ToolFailure(f"the pattern {pattern!r} has a '[' that is never closed")
    inside = re.sub(r"([\\\[\]&~|^])", r"\\\1", pattern[start:end])
    text = f"(?!/)[{'^' if start == at + 2 else ''}{inside}]"
    try:
        re.compile(text)
    except re.error as error:
        raise ToolFailure(f"the pattern {pattern!r} is malformed: {error.msg}") from error
    return text, end + 1
