"""What a Messages API stream says: events become chunks and at last a ModelReply.

Strict where a wrong reading would be recorded (order of events, shapes of tool input), tolerant of events and blocks
that this release does not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn

import orjson
from pydantic import JsonValue

from efferent.brain.adapters.stream_nonsense import StreamNonsense
from efferent.brain.ports import (
    ModelChunk,
    ModelReply,
    ReplyPart,
    ReplyStop,
    TextDelta,
    ThinkingStarted,
    ToolCallDraft,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.events.stop import RefusalCategory, RefusalStopDetails
from efferent.common.domain.usage import ModelUsage

_STOPS: Final[dict[str, ReplyStop]] = {
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "refusal": "refusal",
    "pause_turn": "pause_turn",
    "model_context_window_exceeded": "context_window_exceeded",
}
_REFUSAL_CATEGORIES: Final[dict[str, RefusalCategory]] = {
    "cyber": "cyber",
    "bio": "bio",
    "frontier_llm": "frontier_llm",
    "reasoning_extraction": "reasoning_extraction",
    "general_harms": "general_harms",
}
_USAGE_KEYS: Final = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_DELTA_TEXTS: Final = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("tool_use", "partial_json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
}
"""By type of delta: the type of block that it belongs to, and the key of its text."""


class StreamError(Exception):
    """The provider reports an error inside the stream."""

    def __init__(self, error_type: str, remark: str) -> None:
        super().__init__(remark)
        self.error_type = error_type
        self.remark = remark


@dataclass(slots=True)
class _Block:
    """A content block while it comes."""

    kind: Literal["text", "thinking", "redacted_thinking", "tool_use", "other"]
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    data: str = ""
    whole_input: dict[str, JsonValue] | None = None
    is_open: bool = True
    part: int = -1
    """Index in the reply's parts; -1 while the block has nothing that makes it one."""


class ReplyReader:
    """Reads the events of one stream. ``reply`` is set when the last one has come."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._blocks: dict[int, _Block] = {}
        self._placed: list[_Block] = []
        self._started = False
        self._stop: ReplyStop | None = None
        self._refusal: RefusalStopDetails | None = None
        self._usage: dict[str, int] = {}
        self._speed: Literal["standard", "fast"] | None = None
        self.reply: ModelReply | None = None

    def read(self, data: bytes) -> Sequence[ModelChunk]:
        """Take in one event's data; returns what it makes known. Raises StreamNonsense and StreamError."""
        try:
            event: object = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StreamNonsense(f"an event is not JSON ({error.msg})") from None
        if not isinstance(event, dict):
            raise StreamNonsense("an event is not a JSON object")
        kind = event.get("type")
        if self.reply is not None and kind != "ping":
            raise StreamNonsense("there is content after message_stop")
        match kind:
            case "content_block_delta":
                return self._delta(event)
            case "content_block_start":
                return self._start(event)
            case "content_block_stop":
                self._finish(event)
            case "message_start":
                self._begin(event)
            case "message_delta":
                self._close(event)
            case "message_stop":
                self._end()
            case "error":
                _raise_reported(event)
            case str():
                pass  # ping, and what later versions of the API may add
            case _:
                raise StreamNonsense("an event has no type")
        return ()

    def _begin(self, event: dict[str, object]) -> None:
        message = event.get("message")
        if self._started or not isinstance(message, dict):
            raise StreamNonsense("message_start comes twice or without a message")
        self._started = True
        self._count(message.get("usage"))

    def _start(self, event: dict[str, object]) -> Sequence[ModelChunk]:
        index, content = event.get("index"), event.get("content_block")
        if not isinstance(index, int) or not isinstance(content, dict):
            raise StreamNonsense("content_block_start has the wrong shape")
        if not self._started or index in self._blocks:
            raise StreamNonsense(f"content block {index} starts in the wrong place")
        match content:
            case {"type": "text", "text": str(text)}:
                block = self._open_block(index, _Block("text"))
                return self._text(block, text)
            case {"type": "thinking"}:
                thought = content.get("thinking")
                pieces = [thought] if isinstance(thought, str) else []
                return (ThinkingStarted(self._place(self._open_block(index, _Block("thinking", pieces=pieces)))),)
            case {"type": "redacted_thinking", "data": str(redacted)}:
                block = self._open_block(index, _Block("redacted_thinking", data=redacted))
                return (ThinkingStarted(self._place(block)),)
            case {"type": "tool_use", "name": str(name)} if name:
                whole = content.get("input")
                whole_input = whole if isinstance(whole, dict) else None
                self._place(self._open_block(index, _Block("tool_use", name=name, whole_input=whole_input)))
            case {"type": "text" | "redacted_thinking" | "tool_use" as kind}:
                raise StreamNonsense(f"a block of type {kind} has the wrong shape")
            case _:
                self._open_block(index, _Block("other"))
        return ()

    def _delta(self, event: dict[str, object]) -> Sequence[ModelChunk]:
        index, delta = event.get("index"), event.get("delta")
        if not isinstance(index, int) or not isinstance(delta, dict):
            raise StreamNonsense("content_block_delta has the wrong shape")
        block = self._blocks.get(index)
        if block is None or not block.is_open:
            raise StreamNonsense(f"there is a delta for content block {index}, which is not open")
        kind = delta.get("type")
        if block.kind == "other" or kind not in _DELTA_TEXTS:
            return ()  # citations, and blocks that are passed over
        block_kind, key = _DELTA_TEXTS[kind]
        text = delta.get(key)
        if block_kind != block.kind or not isinstance(text, str):
            raise StreamNonsense(f"a {kind} does not fit content block {index} of type {block.kind}")
        if block_kind == "text":
            return self._text(block, text)
        if kind == "signature_delta":
            block.signature += text
        else:
            block.pieces.append(text)
        return ()

    def _text(self, block: _Block, text: str) -> Sequence[ModelChunk]:
        if not text:
            return ()
        block.pieces.append(text)
        return (TextDelta(self._place(block), text),)

    def _open_block(self, index: int, block: _Block) -> _Block:
        self._blocks[index] = block
        return block

    def _place(self, block: _Block) -> int:
        if block.part < 0:
            block.part = len(self._placed)
            self._placed.append(block)
        return block.part

    def _finish(self, event: dict[str, object]) -> None:
        index = event.get("index")
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None or not block.is_open:
            raise StreamNonsense(f"content block {index!r:.20} stops but is not open")
        block.is_open = False

    def _close(self, event: dict[str, object]) -> None:
        closing = event.get("delta")
        if not self._started or not isinstance(closing, dict):
            raise StreamNonsense("message_delta comes before message_start or has no delta")
        reason = closing.get("stop_reason")
        if reason is not None:
            self._stop = _STOPS.get(reason) if isinstance(reason, str) else None
            if self._stop is None:
                raise StreamNonsense(f"the stop reason {str(reason)[:100]!r} is not known")
        details = closing.get("stop_details")
        if isinstance(details, dict) and details.get("type") == "refusal":
            self._refusal = _refusal(details)
        self._count(event.get("usage"))

    def _count(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        for key in _USAGE_KEYS:
            value = usage.get(key)
            if isinstance(value, int) and value >= 0:
                self._usage[key] = value
        speed = usage.get("speed")
        if speed == "standard" or speed == "fast":
            self._speed = speed

    def _end(self) -> None:
        if not self._started or any(block.is_open for block in self._blocks.values()):
            raise StreamNonsense("message_stop comes before the content has ended")
        if self._stop is None:
            raise StreamNonsense("the message stops without a reason")
        parts = self._finished_parts(self._stop)
        if self._stop == "tool_use" and not any(isinstance(part, ToolCallDraft) for part in parts):
            raise StreamNonsense("it stops for tool use without a call")
        usage = ModelUsage(**self._usage, speed=self._speed)
        self.reply = ModelReply(parts, self._stop, usage, self._refusal)

    def _finished_parts(self, stop: ReplyStop) -> tuple[ReplyPart, ...]:
        """The parts in their order; the call in whose middle the model was cut off is left out."""
        parts: list[ReplyPart] = []
        for block in self._placed:
            try:
                parts.append(_part_of(self._model_id, block))
            except StreamNonsense:
                if block is not self._placed[-1] or stop in ("end_turn", "tool_use"):
                    raise
        return tuple(parts)


def _raise_reported(event: dict[str, object]) -> NoReturn:
    match event.get("error"):
        case {"type": str(error_type), "message": str(remark)}:
            raise StreamError(error_type, remark)
        case _:
            raise StreamError("api_error", "")


def _part_of(model_id: str, block: _Block) -> ReplyPart:
    text = "".join(block.pieces)
    match block.kind:
        case "tool_use":
            return ToolCallDraft(block.name, _tool_input(block, text))
        case "thinking":
            return Thought(model_id, text, block.signature or None, None)
        case "redacted_thinking":
            return Thought(model_id, "", None, block.data)
        case "text" | "other":
            return TextBlock(text=text)


def _tool_input(block: _Block, text: str) -> dict[str, JsonValue]:
    if not text:
        return block.whole_input or {}
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StreamNonsense(f"the input of a call of {block.name[:100]} is not JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise StreamNonsense(f"the input of a call of {block.name[:100]} is not a JSON object")
    return value


def _refusal(details: dict[object, object]) -> RefusalStopDetails:
    category, explanation = details.get("category"), details.get("explanation")
    return RefusalStopDetails(
        category=_REFUSAL_CATEGORIES.get(category) if isinstance(category, str) else None,
        explanation=explanation if isinstance(explanation, str) else None,
    )
