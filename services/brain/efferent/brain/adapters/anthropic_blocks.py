"""Turns of a history as the Messages API's JSON bytes."""

from dataclasses import dataclass
from typing import Final

import orjson

from efferent.brain.adapters.conversation import Run, input_parts, marked_system_text
from efferent.common.domain.content import (
    DocumentBlock,
    FileSource,
    ImageBlock,
    RedactedBlock,
    SearchResultBlock,
    TextBlock,
)
from efferent.common.domain.context import Part, Thought, ToolResult, ToolUse
from efferent.common.domain.model_catalog import thinking_family

_MARK: Final = b',"cache_control":{"type":"ephemeral"}}'


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads a history: whose thinking it is shown, and whether it takes system messages."""

    family: str
    takes_system: bool

    def is_visible(self, part: Part) -> bool:
        """Whether the part is sent at all: blank text is refused by the API, foreign thinking is nobody's business."""
        match part:
            case TextBlock():
                return bool(part.text) and not part.text.isspace()
            case Thought():
                signed = part.signature is not None or part.redacted_data is not None
                return signed and thinking_family(part.model) == self.family
            case _:
                return True


def encode_run(run: Run, reading: Reading, *, marked: bool = False) -> bytes:
    """A turn as one message, or two when system text follows; ``marked`` sets a cache mark on the user's message."""
    if run.is_assistant:
        parts = [part for message in run.messages for part in message.parts if reading.is_visible(part)]
        return _message(b"assistant", [_block(part) for part in parts])
    results, others, system = input_parts(run)
    blocks = [_block(part) for part in (*results, *others) if reading.is_visible(part)]
    system = [text for text in system if text and not text.isspace()]
    if not reading.takes_system or not blocks:
        # A system message may not stand without a user's before it.
        blocks += [_text(marked_system_text(text)) for text in system]
        system = []
    if marked:
        blocks[-1] = blocks[-1][:-1] + _MARK
    encoded = _message(b"user", blocks)
    return encoded + b"," + _message(b"system", [_text(text) for text in system]) if system else encoded


def _message(role: bytes, blocks: list[bytes]) -> bytes:
    return b'{"role":"%b","content":[%b]}' % (role, b",".join(blocks))


def _text(text: str) -> bytes:
    return b'{"type":"text","text":%b}' % orjson.dumps(text)


def _block(part: Part) -> bytes:
    match part:
        case TextBlock():
            return _text(part.text)
        case ToolUse():
            return orjson.dumps({"type": "tool_use", "id": part.id, "name": part.name, "input": part.input})
        case ToolResult():
            return _tool_result(part)
        case Thought(redacted_data=str(data)):
            return orjson.dumps({"type": "redacted_thinking", "data": data})
        case Thought():
            return orjson.dumps({"type": "thinking", "thinking": part.thinking, "signature": part.signature})
        case RedactedBlock():
            return _text("[content withheld]")
        case ImageBlock() | DocumentBlock():
            return _media(part)


def _media(part: ImageBlock | DocumentBlock) -> bytes:
    if isinstance(part.source, FileSource):
        # The id is one of ours, and no provider knows it.
        return _text(f"[the {part.type} {part.source.file_id} could not be loaded]")
    return orjson.dumps(part.model_dump(mode="json", exclude_none=True))


def _tool_result(result: ToolResult) -> bytes:
    blocks = [
        _media(part)
        if isinstance(part, ImageBlock | DocumentBlock)
        else orjson.dumps(part.model_dump(mode="json"))
        if isinstance(part, SearchResultBlock)
        else _text(part.text)
        for part in result.content
        if not isinstance(part, TextBlock) or (part.text and not part.text.isspace())
    ]
    if not blocks:
        blocks = [_text("(no output)")]  # an error result without content is refused
    return b'{"type":"tool_result","tool_use_id":%b,"content":[%b]%b}' % (
        orjson.dumps(result.tool_use_id),
        b",".join(blocks),
        b',"is_error":true' if result.is_error else b"",
    )
