"""Events that the agent makes: ``agent.*``."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from efferent.common.domain.content import AgentBlock, MessageBlock, ResultBlock, Shape
from efferent.common.domain.ids import EventId, ThreadId
from efferent.common.domain.timestamp import Timestamp

Permission = Literal["allow", "ask", "deny"]


class AutoAllow(Shape):
    """The server judged the call safe."""

    type: Literal["allow"] = "allow"


class AutoAsk(Shape):
    """The server could not judge the call."""

    type: Literal["ask"] = "ask"
    reason_code: str


class AutoDeny(Shape):
    """The server refused the call."""

    type: Literal["deny"] = "deny"
    reason_code: str


class EvaluatedAlwaysAllow(Shape):
    """The policy ``always_allow`` decided."""

    type: Literal["always_allow"] = "always_allow"


class EvaluatedAlwaysAsk(Shape):
    """The policy ``always_ask`` decided."""

    type: Literal["always_ask"] = "always_ask"


class EvaluatedAuto(Shape):
    """The policy ``auto`` decided, with this judgement."""

    type: Literal["auto"] = "auto"
    evaluated_permission: Annotated[AutoAllow | AutoAsk | AutoDeny, Field(discriminator="type")]


Evaluation = Annotated[EvaluatedAlwaysAllow | EvaluatedAlwaysAsk | EvaluatedAuto, Field(discriminator="type")]


class AgentMessage(Shape):
    """A finished answer."""

    type: Literal["agent.message"] = "agent.message"
    id: EventId
    content: tuple[AgentBlock, ...]
    processed_at: Timestamp


class AgentThinking(Shape):
    """A sign of thinking; carries no content."""

    type: Literal["agent.thinking"] = "agent.thinking"
    id: EventId
    processed_at: Timestamp


class AgentToolUse(Shape):
    """A call of a built-in tool."""

    type: Literal["agent.tool_use"] = "agent.tool_use"
    id: EventId
    name: str
    input: dict[str, JsonValue]
    evaluated_permission: Permission
    evaluation: Evaluation | None = Field(default=None, exclude_if=lambda evaluation: evaluation is None)
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp


class AgentToolResult(Shape):
    """The one result of a built-in tool call."""

    type: Literal["agent.tool_result"] = "agent.tool_result"
    id: EventId
    tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None
    processed_at: Timestamp


class AgentMcpToolUse(Shape):
    """A call of an MCP server's tool."""

    type: Literal["agent.mcp_tool_use"] = "agent.mcp_tool_use"
    id: EventId
    mcp_server_name: str
    name: str
    input: dict[str, JsonValue]
    evaluated_permission: Permission
    evaluation: Evaluation | None = Field(default=None, exclude_if=lambda evaluation: evaluation is None)
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp


class AgentMcpToolResult(Shape):
    """The one result of an MCP tool call."""

    type: Literal["agent.mcp_tool_result"] = "agent.mcp_tool_result"
    id: EventId
    mcp_tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None
    processed_at: Timestamp


class AgentCustomToolUse(Shape):
    """A call of a tool that the client runs."""

    type: Literal["agent.custom_tool_use"] = "agent.custom_tool_use"
    id: EventId
    name: str
    input: dict[str, JsonValue]
    session_thread_id: ThreadId | None = None
    processed_at: Timestamp


class AgentThreadMessageSent(Shape):
    """A message to another thread, on the sender's stream."""

    type: Literal["agent.thread_message_sent"] = "agent.thread_message_sent"
    id: EventId
    to_session_thread_id: ThreadId
    to_agent_name: str | None = None
    content: tuple[MessageBlock, ...]
    processed_at: Timestamp


class AgentThreadMessageReceived(Shape):
    """A message from another thread, on the receiver's stream."""

    type: Literal["agent.thread_message_received"] = "agent.thread_message_received"
    id: EventId
    from_session_thread_id: ThreadId
    from_agent_name: str | None = None
    content: tuple[MessageBlock, ...]
    processed_at: Timestamp


class AgentThreadContextCompacted(Shape):
    """The context was summarised to fit."""

    type: Literal["agent.thread_context_compacted"] = "agent.thread_context_compacted"
    id: EventId
    processed_at: Timestamp
