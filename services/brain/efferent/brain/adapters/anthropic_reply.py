"""What a Messages API stream says: events become chunks and at last a ModelReply.

Strict where a wrong reading would be recorded (order of events, shapes of tool input), tolerant of events and blocks
that this release does not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson
from pydantic import JsonValue

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


class StreamNonsense(Exception):
    """The stream is not what the wire format allows; the message says what."""


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
    part: int = -1
    """Index in the reply's parts; -1 while the block has nothing that makes it one."""


class ReplyReader:
    """Reads the events of one stream. ``reply`` is set when the last one has come."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._blocks: dict[int, _Block] = {}
        self._open: set[int] = set()
        self._placed: list[_Block] = []
        self._started = False
        self._stop: ReplyStop | None = None
        self._refusal: RefusalStopDetails | None = None
        self._usage: dict[str, int] = {}
        self._speed: Literal["standard", "fast"] | None = None
        self.reply: ModelReply | None = None

    def read(self, data: bytes) -> Iterator[ModelChunk]:
        """Take in one event's data. Raises StreamNonsense and StreamError."""
        try:
            event: object = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StreamNonsense(f"an event is not JSON ({error.msg})") from None
        if not isinstance(event, dict):
            raise StreamNonsense("an event is not a JSON object")
        if self.reply is not None and event.get("type") != "ping":
            raise StreamNonsense("there is content after message_stop")
        match event:
            case {"type": "content_block_delta", "index": int(index), "delta": {"type": str(kind), **delta}}:
                yield from self._delta(index, kind, delta)
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": str(kind), **block}}:
                yield from self._start(index, kind, block)
            case {"type": "content_block_stop", "index": int(index)}:
                self._finish(index)
            case {"type": "message_start", "message": {"usage": dict(usage)}}:
                self._begin(usage)
            case {"type": "message_delta", "delta": dict(closing)}:
                self._close(closing, event.get("usage"))
            case {"type": "message_stop"}:
                self._end()
            case {"type": "error", "error": {"type": str(error_type), "message": str(remark)}}:
                raise StreamError(error_type, remark)
            case {"type": "error"}:
                raise StreamError("api_error", "")
            case {
                "type": "content_block_delta"
                | "content_block_start"
                | "content_block_stop"
                | "message_start"
                | "message_delta" as kind
            }:
                raise StreamNonsense(f"a {kind} event has the wrong shape")
            case {"type": str()}:
                return  # ping, and what later versions of the API may add
            case _:
                raise StreamNonsense("an event has no type")

    def _begin(self, usage: dict[object, object]) -> None:
        if self._started:
            raise StreamNonsense("there are two message_start events")
        self._started = True
        self._count(usage)

    def _start(self, index: int, kind: str, block: dict[object, object]) -> Iterator[ModelChunk]:
        if not self._started or index in self._blocks:
            raise StreamNonsense(f"content block {index} starts in the wrong place")
        match kind, block:
            case "text", {"text": str(text)}:
                self._open_block(index, _Block("text"))
                yield from self._text(index, text)
            case "thinking", _:
                thought = block.get("thinking")
                pieces = [thought] if isinstance(thought, str) else []
                opened = self._open_block(index, _Block("thinking", pieces=pieces))
                yield ThinkingStarted(self._place(opened))
            case "redacted_thinking", {"data": str(data)}:
                opened = self._open_block(index, _Block("redacted_thinking", data=data))
                yield ThinkingStarted(self._place(opened))
            case "tool_use", {"name": str(name)} if name:
                whole = block.get("input")
                self._place(
                    self._open_block(
                        index, _Block("tool_use", name=name, whole_input=whole if isinstance(whole, dict) else None)
                    )
                )
            case (("text" | "redacted_thinking" | "tool_use"), _):
                raise StreamNonsense(f"a block of type {kind} has the wrong shape")
            case _:
                self._open_block(index, _Block("other"))

    def _delta(self, index: int, kind: str, delta: dict[object, object]) -> Iterator[ModelChunk]:
        if index not in self._open:
            raise StreamNonsense(f"there is a delta for content block {index}, which is not open")
        block = self._blocks[index]
        match kind, delta:
            case "text_delta", {"text": str(text)} if block.kind == "text":
                yield from self._text(index, text)
            case "input_json_delta", {"partial_json": str(text)} if block.kind == "tool_use":
                block.pieces.append(text)
            case "thinking_delta", {"thinking": str(text)} if block.kind == "thinking":
                block.pieces.append(text)
            case "signature_delta", {"signature": str(text)} if block.kind == "thinking":
                block.signature += text
            case (("text_delta" | "input_json_delta" | "thinking_delta" | "signature_delta"), _) if (
                block.kind != "other"
            ):
                raise StreamNonsense(f"a {kind} does not fit content block {index} of type {block.kind}")
            case _:
                return  # citations, and deltas of blocks that are passed over

    def _text(self, index: int, text: str) -> Iterator[ModelChunk]:
        if text:
            block = self._blocks[index]
            block.pieces.append(text)
            yield TextDelta(self._place(block), text)

    def _open_block(self, index: int, block: _Block) -> _Block:
        self._blocks[index] = block
        self._open.add(index)
        return block

    def _place(self, block: _Block) -> int:
        if block.part < 0:
            block.part = len(self._placed)
            self._placed.append(block)
        return block.part

    def _finish(self, index: int) -> None:
        if index not in self._open:
            raise StreamNonsense(f"content block {index} stops but is not open")
        self._open.remove(index)

    def _close(self, closing: dict[object, object], usage: object) -> None:
        if not self._started:
            raise StreamNonsense("message_delta comes before message_start")
        reason = closing.get("stop_reason")
        if reason is not None:
            self._stop = _STOPS.get(reason) if isinstance(reason, str) else None
            if self._stop is None:
                raise StreamNonsense(f"the stop reason {str(reason)[:100]!r} is not known")
        details = closing.get("stop_details")
        if isinstance(details, dict) and details.get("type") == "refusal":
            self._refusal = _refusal(details)
        if isinstance(usage, dict):
            self._count(usage)

    def _count(self, usage: dict[object, object]) -> None:
        for key in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
            value = usage.get(key)
            if isinstance(value, int) and value >= 0:
                self._usage[key] = value
        speed = usage.get("speed")
        if speed == "standard" or speed == "fast":
            self._speed = speed

    def _end(self) -> None:
        if not self._started or self._open:
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
