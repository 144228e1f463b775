"""Short words for tests that ask a model: messages, requests, and a stream collected to its end."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import orjson
from pydantic import JsonValue

from efferent.brain.ports import ModelChunk, ModelReply, ModelRequest, ToolDefinition
from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Message, Part, ToolResult, ToolUse
from efferent.common.domain.ids import EventId
from efferent.common.domain.resources.agent import Effort, ModelConfig

CLAUDE = "claude-opus-5"
BASH = ToolDefinition(
    "bash", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
)


def user(*parts: str | Part) -> Message:
    """A message of the user."""
    return Message("user", tuple(TextBlock(text=part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: str | Part) -> Message:
    """A message of the assistant."""
    return Message("assistant", tuple(TextBlock(text=part) if isinstance(part, str) else part for part in parts))


def system(text: str) -> Message:
    """A message of the system in the middle of a conversation."""
    return Message("system", (TextBlock(text=text),))


def call(id: str, name: str = "bash", **arguments: JsonValue) -> ToolUse:
    """A call that the model made."""
    return ToolUse(EventId(id), name, arguments)


def result(id: str, text: str = "ok", *, is_error: bool = False) -> ToolResult:
    """What a call gave."""
    return ToolResult(EventId(id), (TextBlock(text=text),), is_error)


def script(*steps: dict[str, Any], tag: str = "") -> Message:
    """A message whose answers are scripted; the tag makes its counters its own."""
    return user(f"{tag}\nscript: {orjson.dumps(list(steps)).decode()}")


def ask(
    *messages: Message,
    model: str = CLAUDE,
    effort: Literal["low", "medium", "high", "xhigh", "max"] = "high",
    system_prompt: str = "",
    tools: Sequence[ToolDefinition] = (),
) -> ModelRequest:
    """A request."""
    return ModelRequest(ModelConfig(id=model, effort=Effort(type=effort)), system_prompt, tuple(tools), messages)


async def collect(stream: AsyncIterator[ModelChunk]) -> tuple[list[ModelChunk], ModelReply]:
    """The chunks before the reply, and the reply."""
    chunks = [chunk async for chunk in stream]
    reply = chunks.pop()
    assert isinstance(reply, ModelReply)
    return chunks, reply
