"""The model's context: what a thread's history looks like to a model, neutral of any provider.

``tool_use`` ids are the event ids of the tool use, so that a session can change its model between two requests.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from efferent.common.domain.content import DocumentBlock, ImageBlock, RedactedBlock, SearchResultBlock, TextBlock
from efferent.common.domain.ids import EventId


@dataclass(frozen=True, slots=True)
class Thought:
    """Thinking that only the model which made it may see again, with its signature."""

    model: str
    thinking: str
    signature: str | None
    redacted_data: str | None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the model made."""

    id: EventId
    name: str
    input: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a call."""

    tool_use_id: EventId
    content: tuple[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, ...]
    is_error: bool


Part = TextBlock | ImageBlock | DocumentBlock | RedactedBlock | Thought | ToolUse | ToolResult


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Message:
    """One turn of the conversation. Compared by identity, so that an adapter may cache its encoding."""

    role: Literal["user", "assistant", "system"]
    parts: tuple[Part, ...]
