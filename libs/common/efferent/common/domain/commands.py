"""Commands: what a client or a brain wants of a session. ``decide`` answers each with events or a refusal."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from efferent.common.domain.attachments import AttachFile, Attachment
from efferent.common.domain.content import DocumentBlock, ImageBlock, MessageBlock, ResultBlock, TextBlock
from efferent.common.domain.context import Thought
from efferent.common.domain.events.stop import RefusalStopDetails
from efferent.common.domain.ids import (
    BrainId,
    ClaimId,
    EnvironmentId,
    EventId,
    SessionId,
    SessionResourceId,
    ThreadId,
    WorkspaceId,
)
from efferent.common.domain.resources.agent import AgentSnapshot, McpServer, Tool
from efferent.common.domain.resources.environment import EnvironmentConfig
from efferent.common.domain.resources.session_resource import PinnedSkill
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.usage import BudgetLimit, ModelUsage

# --- drafts: client events before they have an id -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A ``user.message`` to be."""

    content: tuple[MessageBlock, ...]


@dataclass(frozen=True, slots=True)
class InterruptDraft:
    """A ``user.interrupt`` to be."""

    session_thread_id: ThreadId | None = None


@dataclass(frozen=True, slots=True)
class ConfirmationDraft:
    """A ``user.tool_confirmation`` to be."""

    tool_use_id: EventId
    result: Literal["allow", "deny"]
    deny_message: str | None = None


@dataclass(frozen=True, slots=True)
class CustomToolResultDraft:
    """A ``user.custom_tool_result`` to be."""

    custom_tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolResultDraft:
    """A ``user.tool_result`` to be."""

    tool_use_id: EventId
    content: tuple[ResultBlock, ...] = ()
    is_error: bool | None = None


@dataclass(frozen=True, slots=True)
class SystemDraft:
    """A ``system.message`` to be."""

    content: tuple[TextBlock, ...]


EventDraft = MessageDraft | InterruptDraft | ConfirmationDraft | CustomToolResultDraft | ToolResultDraft | SystemDraft

# --- of clients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateSession:
    """Begin a session with everything it pins; the ids are made by the caller."""

    session_id: SessionId
    workspace_id: WorkspaceId
    primary_thread_id: ThreadId
    agent: AgentSnapshot
    environment_id: EnvironmentId
    environment_config: EnvironmentConfig
    title: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    deployment_id: str | None = None
    budget: BudgetLimit | None = None
    vault_ids: tuple[str, ...] = ()
    resources: tuple[Attachment, ...] = ()
    sealed_tokens: Sealed | None = None
    """Tokens of the repositories, by resource id."""
    skills: tuple[PinnedSkill, ...] = ()
    initial_events: tuple[EventDraft, ...] = ()


@dataclass(frozen=True, slots=True)
class SendEvents:
    """Send client events; all of them or none."""

    events: tuple[EventDraft, ...]
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class SetTitle:
    """Change the title (None clears it)."""

    title: str | None


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Change the budget (None removes it for good)."""

    budget: BudgetLimit | None


@dataclass(frozen=True, slots=True)
class AgentPatch:
    """Replace the tools or MCP servers of the session's agent (None keeps them)."""

    tools: tuple[Tool, ...] | None = None
    mcp_servers: tuple[McpServer, ...] | None = None


@dataclass(frozen=True, slots=True)
class UpdateSession:
    """Change what may change; None leaves a part as it is. Metadata is a patch: None deletes a key."""

    title: SetTitle | None = None
    metadata: dict[str, str | None] | None = None
    agent: AgentPatch | None = None
    budget: SetBudget | None = None


@dataclass(frozen=True, slots=True)
class ArchiveSession:
    """Make the session read-only for good."""


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Remove the session; the last event of its log."""


@dataclass(frozen=True, slots=True)
class ArchiveThread:
    """Archive one thread of the session."""

    thread_id: ThreadId


@dataclass(frozen=True, slots=True)
class AddFile:
    """Attach another file."""

    file: AttachFile


@dataclass(frozen=True, slots=True)
class RemoveResource:
    """Take a file away."""

    resource_id: SessionResourceId


@dataclass(frozen=True, slots=True)
class RotateRepositoryToken:
    """Reach a repository with another token: the tokens of all repositories, sealed anew."""

    resource_id: SessionResourceId
    sealed: Sealed
    replaces: Sealed | None
    """The tokens that the new ones were made from."""


ClientCommand = (
    CreateSession
    | SendEvents
    | UpdateSession
    | ArchiveSession
    | DeleteSession
    | ArchiveThread
    | AddFile
    | RemoveResource
    | RotateRepositoryToken
)

# --- of brains ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClaimTurn:
    """Take the session's waiting input in, or its unfinished turn over, under a fresh claim."""

    claim_id: ClaimId
    brain_id: BrainId


@dataclass(frozen=True, slots=True)
class TakeQueuedInput:
    """Take in what came while the holder works: interrupts and confirmations."""

    claim_id: ClaimId


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Begin the next model request (when the wait for a retry is over)."""

    claim_id: ClaimId


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call in a model's reply."""

    name: str
    input: dict[str, JsonValue]


ReplyPart = Thought | TextBlock | ToolCallPart


@dataclass(frozen=True, slots=True)
class RecordReply:
    """A model request succeeded. ``compaction_due``: the context nears the model's window."""

    claim_id: ClaimId
    span_id: EventId
    model: str
    parts: tuple[ReplyPart, ...]
    usage: ModelUsage
    list_cost_micro_usd: int | None
    refusal: RefusalStopDetails | None = None
    more_to_come: bool = False
    """The provider paused the turn (``pause_turn``): ask again at once."""
    compaction_due: bool = False


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """A model request failed; ``span_id`` None when it was the request for a summary."""

    claim_id: ClaimId
    span_id: EventId | None
    kind: Literal["model_overloaded", "model_rate_limited", "model_request_failed", "billing", "unknown"]
    verdict: Literal["retryable", "exhausted", "terminal"]
    message: str
    retry_delay_us: int


@dataclass(frozen=True, slots=True)
class RecordToolResult:
    """A tool call of the sandbox finished."""

    claim_id: ClaimId
    call_id: EventId
    content: tuple[TextBlock | ImageBlock | DocumentBlock, ...]
    is_error: bool


@dataclass(frozen=True, slots=True)
class RecordCompaction:
    """The context was summarised up to this event."""

    claim_id: ClaimId
    summary: str
    up_to: EventId
    usage: ModelUsage
    model: str
    list_cost_micro_usd: int | None


BrainCommand = (
    ClaimTurn | TakeQueuedInput | StartRequest | RecordReply | RecordFailure | RecordToolResult | RecordCompaction
)
Command = ClientCommand | BrainCommand
