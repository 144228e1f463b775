"""The built-in tools as a model is offered them: names, descriptions and input schemas. Pure data.

What the tools do is the hands' affair; which of them a session may use is decided in ``permissions``.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

BUILTIN_TOOLS: Final = ("bash", "read", "write", "edit", "glob", "grep", "web_fetch", "web_search")
"""Every name of ``agent_toolset_20260401``. The web tools have no definition: they are not offered until they exist."""


@dataclass(frozen=True, slots=True)
class BuiltinDefinition:
    """A built-in tool as the model is offered it."""

    name: str
    description: str
    input_schema: dict[str, JsonValue]


def definition(name: str) -> BuiltinDefinition:
    """The definition of a sandbox tool. Raises KeyError for a name that has none."""
    return _DEFINITIONS[name]


def _text(description: str) -> JsonValue:
    return {"type": "string", "description": description}


def _flag(description: str) -> JsonValue:
    return {"type": "boolean", "description": description}


def _count(description: str, minimum: int) -> JsonValue:
    return {"type": "integer", "minimum": minimum, "description": description}


def _define(name: str, description: str, required: tuple[str, ...], **properties: JsonValue) -> BuiltinDefinition:
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return BuiltinDefinition(name, description, schema)


_FILE_PATH: Final = _text("Absolute path, or a path relative to /workspace.")

_BASH: Final = _define(
    "bash",
    "Run a command in a bash shell that stays alive between calls: the working directory, variables and functions are "
    "kept. It starts in /workspace. Standard output and error are returned together; a non-zero exit code makes the "
    "result an error. There is no terminal and standard input is empty. Redirect the output of background processes "
    "to a file: nothing that they print after the call is returned.",
    (),
    command=_text("The command to run. Leave it out only together with restart."),
    restart=_flag("Start a new shell in /workspace instead of running a command."),
    timeout_ms=_count("Milliseconds after which the command is stopped; 0 or left out: the default.", 0),
)

_READ: Final = _define(
    "read",
    "Read a file. Text is returned as it stands, images and PDF files as what they show. Files over 256 KiB of text "
    "can be read in parts with view_range.",
    ("file_path",),
    file_path=_FILE_PATH,
    view_range={
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
        "description": "First and last line to return, counted from 1, inclusive. A last line below 1: to the end.",
    },
)

_WRITE: Final = _define(
    "write",
    "Write a whole file. Missing folders are made; an existing file is overwritten.",
    ("file_path", "content"),
    file_path=_FILE_PATH,
    content=_text("Everything that the file shall hold."),
)

_EDIT: Final = _define(
    "edit",
    "Replace a piece of text in a file. old_string has to occur exactly once, unless replace_all is set; add lines "
    "around it until it does.",
    ("file_path", "old_string", "new_string"),
    file_path=_FILE_PATH,
    old_string=_text("The text to replace, to the letter, white space included."),
    new_string=_text("The text that takes its place."),
    replace_all=_flag("Replace every occurrence."),
)

_GLOB: Final = _define(
    "glob",
    "Find files by name, newest first, at most 100. Hidden files are included.",
    ("pattern",),
    pattern=_text("Such as src/**/*.py or *.{ts,tsx}. A pattern without a slash matches in every folder below."),
    path=_text("The folder to search; left out: /workspace."),
)

_GREP: Final = _define(
    "grep",
    "Find the files whose content matches a regular expression. Returns their paths, one a line. Binary files are "
    "skipped.",
    ("pattern",),
    pattern=_text("The regular expression; ^ and $ stand for the ends of a line."),
    path=_text("The file or folder to search; left out: /workspace."),
    glob=_text("Search only files whose name matches, such as *.py."),
    context=_count("Accepted for compatibility; the result is the same.", 0),
    head_limit=_count("Return at most so many paths; 0 or left out: no limit of your own.", 0),
)

_DEFINITIONS: Final = {tool.name: tool for tool in (_BASH, _READ, _WRITE, _EDIT, _GLOB, _GREP)}
