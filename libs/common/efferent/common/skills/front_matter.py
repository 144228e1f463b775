"""What a SKILL.md says of its skill: the YAML between its first two lines of three hyphens."""

import re
from dataclasses import dataclass
from typing import Final

import yaml

from efferent.common.domain.refusals import InvalidRequest

FRONT_MATTER_BYTES_MAX: Final = 64 * 1024

_BLOCK: Final = re.compile(rb"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", re.DOTALL)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What is read of it; a skill may say more."""

    name: str
    description: str


def read_front_matter(skill_file: bytes) -> FrontMatter:
    """Read it. Raises InvalidRequest."""
    found = _BLOCK.match(skill_file.removeprefix(_BYTE_ORDER_MARK)[:FRONT_MATTER_BYTES_MAX])
    if found is None:
        raise InvalidRequest(
            "SKILL.md: must begin with YAML between two lines of --- "
            f"(within its first {FRONT_MATTER_BYTES_MAX} bytes), with name and description"
        )
    try:
        # Recursion: YAML may be nested as deep as its text is long.
        facts = yaml.safe_load(found[1].decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest("SKILL.md: the front matter is not UTF-8") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidRequest(f"SKILL.md: the front matter is not valid YAML{_place(error)}") from error
    if not isinstance(facts, dict):
        raise InvalidRequest("SKILL.md: the front matter must be a YAML mapping with name and description")
    return FrontMatter(_text(facts, "name"), _text(facts, "description"))


def _text(facts: dict[object, object], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"SKILL.md: the front matter needs {key}, a text")
    return value.strip()


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 2})" if mark is not None else ""
