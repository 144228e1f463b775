"""What the file tools are asked: one frozen shape per tool, the same on both sides of the launcher's socket."""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Final

_CLOSED: Final = {"extra": "forbid"}
"""For pydantic, which reads inputs of models into these shapes: an unknown field is an error, not silence."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read a file, or the lines ``view_range`` of it (from 1, both included; an end <= 0 means to the end)."""

    __pydantic_config__: ClassVar = _CLOSED
    file_path: str
    view_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Write a whole file and the folders above it."""

    __pydantic_config__: ClassVar = _CLOSED
    file_path: str
    content: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace one occurrence (or every one) of a string in a file."""

    __pydantic_config__: ClassVar = _CLOSED
    file_path: str
    old_string: str
    new_string: str
    replace_all: bool | None = None


@dataclass(frozen=True, slots=True)
class Glob:
    """Find files by name."""

    __pydantic_config__: ClassVar = _CLOSED
    pattern: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Grep:
    """Find files by content. ``context`` is accepted and changes nothing."""

    __pydantic_config__: ClassVar = _CLOSED
    pattern: str
    path: str | None = None
    glob: str | None = None
    context: int | None = None
    head_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Count what the session keeps on disk; stops counting where the limits are passed."""

    paths: tuple[str, ...]
    bytes_max: int
    files_max: int


FileRequest = Read | Write | Edit | Glob | Grep | Measure

_BY_NAME: Final[dict[str, type[FileRequest]]] = {
    "read": Read,
    "write": Write,
    "edit": Edit,
    "glob": Glob,
    "grep": Grep,
    "measure": Measure,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a file tool answers. ``blocks`` are content blocks in the API's shape, as JSON."""

    blocks: tuple[dict[str, object], ...]
    is_error: bool = False


def text_reply(text: str, *, is_error: bool = False) -> Reply:
    """A reply of one text block. What is not Unicode (a file's name may be any bytes) is replaced."""
    return Reply(({"type": "text", "text": text.encode(errors="replace").decode()},), is_error)


def encode_request(request: FileRequest) -> bytes:
    """Write a request for the launcher."""
    name = next(name for name, kind in _BY_NAME.items() if isinstance(request, kind))
    return json.dumps([name, asdict(request)]).encode()


def decode_request(data: bytes) -> FileRequest:
    """Read what ``encode_request`` wrote."""
    name, fields = json.loads(data)
    return _BY_NAME[name](**fields)


def encode_reply(reply: Reply) -> bytes:
    """Write a reply for the hands."""
    return json.dumps([reply.blocks, reply.is_error]).encode()


def decode_reply(data: bytes) -> Reply:
    """Read what ``encode_reply`` wrote. Raises ValueError when the tool died before it was complete."""
    blocks, is_error = json.loads(data)
    return Reply(tuple(blocks), is_error)
