"""Results as the model reads them: short enough to be read, and honest about what was left out. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from efferent.hands.journal import Result
from efferent.hands.ports import CommandResult, Exited, TimedOut

TEXT_CHARACTERS_MAX: Final = 100_000
"""A longer text is put in a file of the sandbox, and the model sees its beginning and its end."""
PREVIEW_CHARACTERS: Final = 10_000
"""Of the beginning, and as much of the end."""

INTERRUPTED_TEXT: Final = "Tool execution was interrupted before completion. Please retry."
DROPPED_TEXT: Final = "This call has run before, but its result is no longer kept."
NO_OUTPUT_TEXT: Final = "(no output)"


@dataclass(frozen=True, slots=True)
class LongText:
    """A text that is too long for a result; ``path`` is where the whole of it is, None when it is nowhere."""

    text: str
    path: str | None


def text_result(text: str, *, is_error: bool = False) -> Result:
    """A result of one text."""
    return blocks_result(({"type": "text", "text": text},), is_error=is_error)


def blocks_result(blocks: Sequence[dict[str, object]], *, is_error: bool) -> Result:
    """A result of content blocks in the API's shape."""
    return Result(json.dumps(blocks, ensure_ascii=False), is_error)


def preview(long: LongText) -> str:
    """The beginning and the end of a long text, with a line between them that says where the rest is."""
    text = long.text
    left_out = len(text) - 2 * PREVIEW_CHARACTERS
    where = f"the whole output is in {long.path}" if long.path else "the rest could not be kept"
    gap = f"\n\n[... {left_out} of {len(text)} characters left out; {where} ...]\n\n"
    return text[:PREVIEW_CHARACTERS] + gap + text[-PREVIEW_CHARACTERS:]


def decoded(output: bytes) -> str:
    """Output as text: bytes that are not UTF-8 are replaced, the last line's end is left out."""
    return output.decode(errors="replace").removesuffix("\n")


def command_text(output: str, result: CommandResult, fresh_shell: str | None) -> str:
    """The output of a command with everything around it that the model has to know."""
    parts = [f"[{fresh_shell}]"] if fresh_shell else []
    if output:
        parts.append(output)
    match result.end:
        case Exited(code, ended_shell):
            if ended_shell:
                parts.append(f"[The shell exited with code {code}.]")
            elif code:
                parts.append(f"[Exit code: {code}]")
        case TimedOut(after_s):
            parts.append(f"[The command was stopped: it took longer than {after_s:g} s.]")
    if result.note:
        parts.append(f"[{result.note}]")
    return "\n".join(parts) or NO_OUTPUT_TEXT


def is_failure(result: CommandResult) -> bool:
    """Whether a command's end makes its result an error."""
    return not isinstance(result.end, Exited) or result.end.code != 0
