"""All facts of a session: the 44 event types of the API and the internal ones, as one closed union."""

from typing import Annotated

from pydantic import Field

from efferent.common.domain.events.agent import (
    AgentCustomToolUse,
    AgentMcpToolResult,
    AgentMcpToolUse,
    AgentMessage,
    AgentThinking,
    AgentThreadContextCompacted,
    AgentThreadMessageReceived,
    AgentThreadMessageSent,
    AgentToolResult,
    AgentToolUse,
)
from efferent.common.domain.events.internal import (
    CompactionDue,
    ContextCompacted,
    InputQueued,
    MetadataCleared,
    ModelRequestPriced,
    ModelThought,
    RepositoryTokensSealed,
    RequestAccepted,
    ResourceAttached,
    ResourceRemoved,
    RetryScheduled,
    SessionArchived,
    SessionCreated,
    SkillsPinned,
    TurnClaimed,
    WorkPaused,
)
from efferent.common.domain.events.session import (
    SessionDeleted,
    SessionError,
    SessionStatusIdle,
    SessionStatusRescheduled,
    SessionStatusRunning,
    SessionStatusTerminated,
    SessionThreadCreated,
    SessionThreadStatusIdle,
    SessionThreadStatusRescheduled,
    SessionThreadStatusRunning,
    SessionThreadStatusTerminated,
    SessionUpdated,
    SessionUsage,
)
from efferent.common.domain.events.span import (
    SpanModelRequestEnd,
    SpanModelRequestStart,
    SpanOutcomeEvaluationEnd,
    SpanOutcomeEvaluationOngoing,
    SpanOutcomeEvaluationStart,
)
from efferent.common.domain.events.user import (
    SystemMessage,
    UserCustomToolResult,
    UserDefineOutcome,
    UserInterrupt,
    UserMessage,
    UserToolConfirmation,
    UserToolResult,
)
from efferent.common.domain.events.workflow_run import (
    WorkflowRunCreated,
    WorkflowRunError,
    WorkflowRunPhaseEnded,
    WorkflowRunPhaseStarted,
    WorkflowRunStatusEnded,
    WorkflowRunStatusIdle,
    WorkflowRunStatusRunning,
)

UserEvent = (
    UserMessage
    | UserInterrupt
    | UserToolConfirmation
    | UserCustomToolResult
    | UserToolResult
    | UserDefineOutcome
    | SystemMessage
)
AgentEvent = (
    AgentMessage
    | AgentThinking
    | AgentToolUse
    | AgentToolResult
    | AgentMcpToolUse
    | AgentMcpToolResult
    | AgentCustomToolUse
    | AgentThreadMessageSent
    | AgentThreadMessageReceived
    | AgentThreadContextCompacted
)
SessionEvent = (
    SessionStatusRunning
    | SessionStatusIdle
    | SessionStatusRescheduled
    | SessionStatusTerminated
    | SessionThreadCreated
    | SessionThreadStatusRunning
    | SessionThreadStatusIdle
    | SessionThreadStatusRescheduled
    | SessionThreadStatusTerminated
    | SessionError
    | SessionUpdated
    | SessionUsage
    | SessionDeleted
)
SpanEvent = (
    SpanModelRequestStart
    | SpanModelRequestEnd
    | SpanOutcomeEvaluationStart
    | SpanOutcomeEvaluationOngoing
    | SpanOutcomeEvaluationEnd
)
WorkflowRunEvent = (
    WorkflowRunCreated
    | WorkflowRunStatusRunning
    | WorkflowRunStatusIdle
    | WorkflowRunStatusEnded
    | WorkflowRunError
    | WorkflowRunPhaseStarted
    | WorkflowRunPhaseEnded
)
InternalEvent = (
    SessionCreated
    | InputQueued
    | RequestAccepted
    | TurnClaimed
    | ModelThought
    | ModelRequestPriced
    | RetryScheduled
    | SessionArchived
    | MetadataCleared
    | CompactionDue
    | ContextCompacted
    | ResourceAttached
    | ResourceRemoved
    | RepositoryTokensSealed
    | SkillsPinned
    | WorkPaused
)
PublicEvent = UserEvent | AgentEvent | SessionEvent | SpanEvent | WorkflowRunEvent
Event = Annotated[PublicEvent | InternalEvent, Field(discriminator="type")]
"""Any event that a record may hold. Previews (``event_start``, ``event_delta``) are never in a record."""

__all__ = [
    "AgentCustomToolUse",
    "AgentEvent",
    "AgentMcpToolResult",
    "AgentMcpToolUse",
    "AgentMessage",
    "AgentThinking",
    "AgentThreadContextCompacted",
    "AgentThreadMessageReceived",
    "AgentThreadMessageSent",
    "AgentToolResult",
    "AgentToolUse",
    "CompactionDue",
    "ContextCompacted",
    "Event",
    "InputQueued",
    "InternalEvent",
    "MetadataCleared",
    "ModelRequestPriced",
    "ModelThought",
    "PublicEvent",
    "RepositoryTokensSealed",
    "RequestAccepted",
    "ResourceAttached",
    "ResourceRemoved",
    "RetryScheduled",
    "SessionArchived",
    "SessionCreated",
    "SessionDeleted",
    "SessionError",
    "SessionEvent",
    "SessionStatusIdle",
    "SessionStatusRescheduled",
    "SessionStatusRunning",
    "SessionStatusTerminated",
    "SessionThreadCreated",
    "SessionThreadStatusIdle",
    "SessionThreadStatusRescheduled",
    "SessionThreadStatusRunning",
    "SessionThreadStatusTerminated",
    "SessionUpdated",
    "SessionUsage",
    "SkillsPinned",
    "SpanEvent",
    "SpanModelRequestEnd",
    "SpanModelRequestStart",
    "SpanOutcomeEvaluationEnd",
    "SpanOutcomeEvaluationOngoing",
    "SpanOutcomeEvaluationStart",
    "SystemMessage",
    "TurnClaimed",
    "UserCustomToolResult",
    "UserDefineOutcome",
    "UserEvent",
    "UserInterrupt",
    "UserMessage",
    "UserToolConfirmation",
    "UserToolResult",
    "WorkPaused",
    "WorkflowRunCreated",
    "WorkflowRunError",
    "WorkflowRunEvent",
    "WorkflowRunPhaseEnded",
    "WorkflowRunPhaseStarted",
    "WorkflowRunStatusEnded",
    "WorkflowRunStatusIdle",
    "WorkflowRunStatusRunning",
]
