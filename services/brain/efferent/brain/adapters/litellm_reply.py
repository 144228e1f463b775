"""What litellm's pieces of a chat completion say: they become chunks and at last a ModelReply."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import JsonValue

from efferent.brain.adapters.sse_decoder import STREAM_BYTES_MAX
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
from efferent.common.domain.usage import ModelUsage

CALLS_MAX: Final = 128
_STOPS: Final[Mapping[str, ReplyStop]] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ChatReplyReader:
    """Reads the pieces of one stream; ``finish`` gives the reply."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._thought: list[str] = []
        self._signature: str | None = None
        self._thinks = False
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self._usage = ModelUsage()
        self._chars = 0

    def read(self, piece: Any) -> Iterator[ModelChunk]:
        """Take in one piece. Raises StreamNonsense."""
        usage = getattr(piece, "usage", None)
        if usage is not None:
            self._usage = _usage(usage)
        for choice in getattr(piece, "choices", None) or []:
            if choice.finish_reason is not None:
                self._finish_reason = str(choice.finish_reason)
            delta = choice.delta
            yield from self._think(delta)
            if isinstance(delta.content, str) and delta.content:
                self._count(delta.content)
                self._text.append(delta.content)
                yield TextDelta(int(self._thinks), delta.content)
            for call in delta.tool_calls or []:
                self._call(call)

    def finish(self) -> ModelReply:
        """The whole answer. Raises StreamNonsense when it is not whole."""
        if self._finish_reason is None:
            raise StreamNonsense("it ended without a finish reason")
        parts: list[ReplyPart] = []
        if self._thinks:
            parts.append(Thought(self._model_id, "".join(self._thought), self._signature, None))
        if self._text:
            parts.append(TextBlock(text="".join(self._text)))
        if not parts and not self._calls and not self._usage.output_tokens and self._finish_reason == "stop":
            raise StreamNonsense("it is empty")  # litellm makes up a reason where the server gave none
        cut_off = self._finish_reason in ("length", "content_filter")
        calls = [self._calls[index] for index in sorted(self._calls)]
        for call in calls:
            try:
                parts.append(ToolCallDraft(call.name, _arguments(call)))
            except StreamNonsense:
                if not cut_off or call is not calls[-1]:
                    raise
        stop = _STOPS.get(self._finish_reason, "end_turn")
        if stop in ("end_turn", "tool_use"):
            # Some servers say "stop" after calls, others "tool_calls" without any.
            stop = "tool_use" if calls else "end_turn"
        return ModelReply(tuple(parts), stop, self._usage)

    def _think(self, delta: Any) -> Iterator[ModelChunk]:
        for block in getattr(delta, "thinking_blocks", None) or []:
            if isinstance(block, dict) and isinstance(block.get("signature"), str) and block["signature"]:
                self._signature = block["signature"]
        thought = getattr(delta, "reasoning_content", None)
        # Thinking after text has begun would shift the places of the parts; there is no such provider.
        if isinstance(thought, str) and thought and (self._thinks or not self._text):
            if not self._thinks:
                self._thinks = True
                yield ThinkingStarted(0)
            self._count(thought)
            self._thought.append(thought)

    def _call(self, call: Any) -> None:
        index = call.index if isinstance(call.index, int) else len(self._calls)
        if index not in self._calls and len(self._calls) >= CALLS_MAX:
            raise StreamNonsense(f"there are more than {CALLS_MAX} calls")
        known = self._calls.setdefault(index, _Call())
        if call.function.name:
            known.name = call.function.name
        if call.function.arguments:
            self._count(call.function.arguments)
            known.arguments.append(call.function.arguments)

    def _count(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > STREAM_BYTES_MAX:
            raise StreamNonsense(f"the answer is longer than {STREAM_BYTES_MAX} characters")


def _arguments(call: _Call) -> dict[str, JsonValue]:
    if not call.name:
        raise StreamNonsense("a call has no name")
    text = "".join(call.arguments).strip()
    if not text:
        return {}
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StreamNonsense(f"the input of a call of {call.name[:100]} is not JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise StreamNonsense(f"the input of a call of {call.name[:100]} is not a JSON object")
    return value


def _usage(usage: Any) -> ModelUsage:
    details = getattr(usage, "prompt_tokens_details", None)
    read = _tokens(getattr(details, "cached_tokens", 0))
    written = _tokens(getattr(details, "cache_creation_tokens", 0))
    return ModelUsage(
        input_tokens=max(0, _tokens(usage.prompt_tokens) - read - written),
        output_tokens=_tokens(usage.completion_tokens),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=read,
    )


def _tokens(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
