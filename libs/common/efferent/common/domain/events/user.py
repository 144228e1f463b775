"""Events that a client sends: ``user.*`` and ``system.message``.

``processed_at`` is None only in the queued form, which the log keeps inside ``internal.input_queued``.
"""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import MessageBlock, ResultBlock, Shape, TextBlock
from efferent.common.domain.ids import EventId, ThreadId
from efferent.common.domain.timestamp import Timestamp


class UserMessage(Shape):
    """A user turn; starts work or is steered into the running turn."""

    type: Literal["user.message"] = "user.message"
    id: EventId
    content: tuple[MessageBlock, ...]
    processed_at: Timestamp | None = None


class UserInterrupt(Shape):
    """Stop what is running; without a thread every thread is meant."""

    type: Literal["user.interrupt"] = "user.interrupt"
    id: EventId
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp | None = None


class UserToolConfirmation(Shape):
    """Answer to a tool call held by an ``ask`` permission."""

    type: Literal["user.tool_confirmation"] = "user.tool_confirmation"
    id: EventId
    tool_use_id: EventId
    result: Literal["allow", "deny"]
    deny_message: str | None = None
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp | None = None


class UserCustomToolResult(Shape):
    """Result of a tool that the client runs."""

    type: Literal["user.custom_tool_result"] = "user.custom_tool_result"
    id: EventId
    custom_tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp | None = None


class UserToolResult(Shape):
    """Result of a built-in tool that a self-hosted worker ran."""

    type: Literal["user.tool_result"] = "user.tool_result"
    id: EventId
    tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp | None = None


class TextRubric(Shape):
    """A rubric given as text."""

    type: Literal["text"] = "text"
    content: str


class FileRubric(Shape):
    """A rubric kept as a file."""

    type: Literal["file"] = "file"
    file_id: str


class UserDefineOutcome(Shape):
    """A goal with the rubric it is graded by."""

    type: Literal["user.define_outcome"] = "user.define_outcome"
    id: EventId
    outcome_id: str
    description: str
    rubric: Annotated[TextRubric | FileRubric, Field(discriminator="type")]
    max_iterations: int | None = None
    processed_at: Timestamp | None = None


class SystemMessage(Shape):
    """Extra system text from here on."""

    type: Literal["system.message"] = "system.message"
    id: EventId
    content: tuple[TextBlock, ...]
    processed_at: Timestamp | None = None


QueuedInput = Annotated[
    UserMessage | UserInterrupt | UserToolConfirmation | SystemMessage,
    Field(discriminator="type"),
]
"""Client events that wait in the log until the brain takes them in."""

ClientEvent = Annotated[
    UserMessage
    | UserInterrupt
    | UserToolConfirmation
    | UserCustomToolResult
    | UserToolResult
    | UserDefineOutcome
    | SystemMessage,
    Field(discriminator="type"),
]
