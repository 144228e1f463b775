"""Folds a thread's events into the model's context. A pure function of the log; only the brain needs it.

Messages are immutable and keep their identity while they do not change, so that an adapter may cache their encoding.
"""

from dataclasses import dataclass
from typing import Final, Literal

from efferent.common.domain.content import TextBlock
from efferent.common.domain.context import Message, Part, Thought, ToolResult, ToolUse
from efferent.common.domain.events import (
    AgentCustomToolUse,
    AgentMcpToolResult,
    AgentMcpToolUse,
    AgentMessage,
    AgentToolResult,
    AgentToolUse,
    ContextCompacted,
    InternalEvent,
    ModelThought,
    PublicEvent,
    SystemMessage,
    UserCustomToolResult,
    UserMessage,
    UserToolResult,
)
from efferent.common.domain.file_sources import names_file
from efferent.common.domain.ids import EventId
from efferent.common.domain.record import Record


@dataclass(frozen=True, slots=True)
class Transcript:
    """The messages so far."""

    messages: tuple[Message, ...] = ()
    has_files: bool = False
    """Whether some part has to be filled from a file before a model sees it."""

    @classmethod
    def of(cls, messages: tuple[Message, ...]) -> "Transcript":
        """The transcript that consists of these messages."""
        return cls(messages, any(names_file(part) for message in messages for part in message.parts))


EMPTY_TRANSCRIPT: Final = Transcript()

_SEEN: Final = frozenset(
    {
        UserMessage,
        SystemMessage,
        ModelThought,
        AgentMessage,
        AgentToolUse,
        AgentCustomToolUse,
        AgentMcpToolUse,
        AgentToolResult,
        UserToolResult,
        AgentMcpToolResult,
        UserCustomToolResult,
        ContextCompacted,
    }
)
"""The events that a model sees. Most of a history is not: one look at a set tells, instead of twelve patterns."""


def extend_all(transcript: Transcript, record: Record) -> Transcript:
    """The transcript after the primary thread's events of a record."""
    for entry in record.entries:
        if entry.thread is None:
            transcript = extend(transcript, entry.event)
    return transcript


def extend(transcript: Transcript, event: PublicEvent | InternalEvent) -> Transcript:
    """The transcript after the event; events that no model sees change nothing."""
    if type(event) not in _SEEN:
        return transcript
    match event:
        case UserMessage():
            return _say(transcript, "user", *event.content)
        case SystemMessage():
            return _say(transcript, "system", *event.content)
        case ModelThought():
            thought = Thought(event.model, event.thinking, event.signature, event.redacted_data)
            return _say(transcript, "assistant", thought)
        case AgentMessage():
            return _say(transcript, "assistant", *event.content)
        case AgentToolUse() | AgentCustomToolUse():
            return _say(transcript, "assistant", ToolUse(event.id, event.name, event.input))
        case AgentMcpToolUse():
            name = f"mcp__{event.mcp_server_name}__{event.name}"
            return _say(transcript, "assistant", ToolUse(event.id, name, event.input))
        case AgentToolResult() | UserToolResult():
            return _answer(transcript, event.tool_use_id, event)
        case AgentMcpToolResult():
            return _answer(transcript, event.mcp_tool_use_id, event)
        case UserCustomToolResult():
            return _answer(transcript, event.custom_tool_use_id, event)
        case ContextCompacted():
            # Nothing that a model sees is recorded between the request for a summary and its record.
            return Transcript((Message("user", (TextBlock(text=event.summary),)),))
        case _:
            return transcript


def _answer(
    transcript: Transcript,
    call_id: EventId,
    event: AgentToolResult | AgentMcpToolResult | UserToolResult | UserCustomToolResult,
) -> Transcript:
    return _say(transcript, "user", ToolResult(call_id, event.content, bool(event.is_error)))


def _say(transcript: Transcript, role: Literal["user", "assistant", "system"], *parts: Part) -> Transcript:
    last = transcript.messages[-1] if transcript.messages else None
    has_files = transcript.has_files or any(map(names_file, parts))
    if last is not None and last.role == role:
        merged = Message(role, last.parts + parts)
        return Transcript((*transcript.messages[:-1], merged), has_files)
    return Transcript((*transcript.messages, Message(role, parts)), has_files)
