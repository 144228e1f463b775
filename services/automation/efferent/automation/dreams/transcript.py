"""What a dream reads of a session: its public events as text, the middle left out when it is too long. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from efferent.common.domain.content import TextBlock
from efferent.common.domain.events import (
    AgentCustomToolUse,
    AgentMcpToolResult,
    AgentMcpToolUse,
    AgentMessage,
    AgentToolResult,
    AgentToolUse,
    UserCustomToolResult,
    UserMessage,
    UserToolResult,
)
from efferent.common.domain.record import Record

ENTRY_LENGTH_MAX: Final = 4_000
"""Characters of one event; tool output beyond that rarely matters afterwards."""
LEFT_OUT: Final = "\n[...]\n"


def transcript(records: Iterable[Record]) -> str:
    """Who said and did what, in order."""
    lines = (_line(entry.event) for record in records for entry in record.entries)
    return "\n".join(line for line in lines if line is not None)


def fitted(transcripts: Sequence[str], length_max: int) -> list[str]:
    """The transcripts, cut so that together they have at most this many characters; short ones are not cut."""
    left, rest = length_max, sorted(range(len(transcripts)), key=lambda index: len(transcripts[index]))
    cut = list(transcripts)
    while rest:
        index = rest.pop(0)
        share = left // (len(rest) + 1)
        cut[index] = shortened(transcripts[index], share)
        left -= len(cut[index])
    return cut


def shortened(text: str, length_max: int) -> str:
    """Beginning and end of a text that is too long."""
    if len(text) <= length_max:
        return text
    kept = max(0, length_max - len(LEFT_OUT))
    head = kept // 2
    tail = kept - head
    return f"{text[:head]}{LEFT_OUT}{text[len(text) - tail :]}"[:length_max]


def _line(event: object) -> str | None:
    match event:
        case UserMessage(content=content):
            return _said("user", content)
        case AgentMessage(content=content):
            return _said("agent", content)
        case AgentToolUse(name=name, input=given) | AgentCustomToolUse(name=name, input=given):
            return _said(f"call of {name}", orjson.dumps(given).decode())
        case AgentMcpToolUse(name=name, mcp_server_name=server, input=given):
            return _said(f"call of {name} on {server}", orjson.dumps(given).decode())
        case (
            AgentToolResult(content=content)
            | AgentMcpToolResult(content=content)
            | UserToolResult(content=content)
            | UserCustomToolResult(content=content)
        ):
            return _said("result", content or ())
        case _:
            return None


def _said(who: str, content: str | Iterable[object]) -> str:
    if not isinstance(content, str):
        content = "\n".join(block.text if isinstance(block, TextBlock) else "[not text]" for block in content)
    return f"{who}: {shortened(content, ENTRY_LENGTH_MAX)}"
