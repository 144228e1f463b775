"""The folded state of a session: what decisions need, without the model's context.

Small however long the session is, so that every service can keep many of them. The context is folded apart
(``transcript.py``) by the one service that needs it.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from efferent.common.domain.events.stop import RequiresAction, StopReason
from efferent.common.domain.events.user import QueuedInput
from efferent.common.domain.ids import BrainId, ClaimId, EnvironmentId, EventId, SessionId, ThreadId, WorkspaceId
from efferent.common.domain.replacing import replace
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import EnvironmentConfig
from efferent.common.domain.resources.session_resource import (
    FileResource,
    GithubRepositoryResource,
    MemoryStoreResource,
    PinnedSkill,
    StoredContent,
)
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.transitions import StatusName
from efferent.common.domain.usage import BudgetLimit, with_running_time

ANSWERS_MAX: Final = 256
"""How many answered calls a session remembers, to recognise an answer that is sent again."""
IDEMPOTENCY_KEYS_MAX: Final = 128
"""How many ``Idempotency-Key`` values a session remembers."""


@dataclass(frozen=True)
class Idle:
    """Waiting for input. The reason is None until the first turn has ended."""

    stop_reason: StopReason | None = None
    name: Literal["idle"] = "idle"


@dataclass(frozen=True)
class Running:
    """A turn is going on."""

    since: Timestamp
    span_id: EventId | None = None
    """The open model request."""
    rounds: int = 0
    """Model requests that this turn has finished."""
    failures: int = 0
    """Model requests in a row that failed."""
    name: Literal["running"] = "running"


@dataclass(frozen=True)
class Rescheduling:
    """A model request failed and is tried again."""

    not_before: Timestamp
    rounds: int
    failures: int
    name: Literal["rescheduling"] = "rescheduling"


@dataclass(frozen=True)
class Terminated:
    """Over for good."""

    at: Timestamp
    name: Literal["terminated"] = "terminated"


Status = Idle | Running | Rescheduling | Terminated


@dataclass(frozen=True)
class Claim:
    """Which brain works on the session."""

    claim_id: ClaimId
    brain_id: BrainId


Runner = Literal["sandbox", "worker", "client", "mcp"]
"""Who runs a tool: our hands, a self-hosted worker, the API client, or an MCP server."""


@dataclass(frozen=True)
class AwaitingConfirmation:
    """Held by an ``ask`` permission."""


@dataclass(frozen=True)
class AwaitingResult:
    """The client or a worker has to send the result."""


@dataclass(frozen=True)
class Runnable:
    """Allowed: the brain runs it."""


@dataclass(frozen=True)
class Denied:
    """Refused; the error result with this text is still to be recorded."""

    text: str


CallPhase = AwaitingConfirmation | AwaitingResult | Runnable | Denied


@dataclass(frozen=True)
class ToolCall:
    """A tool use without its result."""

    id: EventId
    name: str
    input: dict[str, JsonValue]
    runner: Runner
    phase: CallPhase


@dataclass(frozen=True)
class Answer:
    """An answer to a call that was accepted, to recognise it when it is sent again."""

    call_id: EventId
    event_id: EventId
    digest: str
    processed_at: Timestamp | None


@dataclass(frozen=True)
class Attached:
    """A resource of the session, with what clients are not shown of it."""

    resource: FileResource | GithubRepositoryResource | MemoryStoreResource
    content: StoredContent | None = None
    """Where a file's bytes are."""


@dataclass(frozen=True)
class Totals:
    """What the session has used so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_tokens: int = 0
    cache_read_tokens: int = 0
    list_cost_micro_usd: int = 0
    has_unpriced: bool = False
    """Whether a model without a list price answered: the cost above is then too low."""
    active_seconds: float = 0.0
    turns_ended: int = 0


@dataclass(frozen=True)
class SessionState:
    """Everything that decisions about a session need."""

    session_id: SessionId
    workspace_id: WorkspaceId
    primary_thread_id: ThreadId
    agent: AgentSnapshot
    environment_id: EnvironmentId
    environment_config: EnvironmentConfig
    title: str | None
    metadata: dict[str, str]
    vault_ids: tuple[str, ...]
    deployment_id: str | None
    created_at: Timestamp
    updated_at: Timestamp
    last_at: Timestamp
    """``processed_at`` of the newest event; the next one is later."""
    status: Status = Idle()
    budget: BudgetLimit | None = None
    is_paused: bool = False
    """Whether work goes on as soon as the budget is raised or removed."""
    archived_at: Timestamp | None = None
    deleted: bool = False
    claim: Claim | None = None
    stalled_claims: int = 0
    """Claims in a row under which nothing was achieved."""
    calls: tuple[ToolCall, ...] = ()
    queue: tuple[QueuedInput, ...] = ()
    totals: Totals = Totals()
    compaction_due: bool = False
    compactions: int = 0
    """Compactions in a row without a message or tool call."""
    last_context_event: EventId | None = None
    answers: tuple[Answer, ...] = ()
    accepted_keys: tuple[tuple[str, tuple[EventId, ...]], ...] = ()
    resources: tuple[Attached, ...] = ()
    sealed_tokens: Sealed | None = None
    """Tokens of the session's repositories, by resource id."""
    skills: tuple[PinnedSkill, ...] = ()
    repositories_failed: bool = False
    """Whether it was said that the session's repositories could not be fetched."""

    def call(self, call_id: str) -> ToolCall | None:
        """The call with this event id that has no result yet."""
        return next((call for call in self.calls if call.id == call_id), None)

    def with_call(self, changed: ToolCall) -> "SessionState":
        """The same state with this call changed."""
        return replace(self, calls=tuple(changed if call.id == changed.id else call for call in self.calls))


def confirmed_in_queue(state: SessionState) -> frozenset[EventId]:
    """Calls whose confirmation waits to be taken in."""
    return frozenset(item.tool_use_id for item in state.queue if item.type == "user.tool_confirmation")


def blockers(state: SessionState) -> tuple[EventId, ...]:
    """Calls that wait for the client, those left out whose confirmation is already queued."""
    confirmed = confirmed_in_queue(state)
    return tuple(
        call.id
        for call in state.calls
        if isinstance(call.phase, AwaitingConfirmation | AwaitingResult) and call.id not in confirmed
    )


def has_takeable_input(state: SessionState) -> bool:
    """Whether an idle session has input that a brain must take in now."""
    match state.status:
        case Idle(stop_reason=RequiresAction(event_ids=stated)):
            urgent = any(item.type in ("user.interrupt", "user.tool_confirmation") for item in state.queue)
            return urgent or blockers(state) != stated
        case Idle() if is_idle_at_cap(state):
            return any(item.type == "user.interrupt" for item in state.queue)
        case Idle():
            return state.is_paused or bool(state.queue)
        case Running() | Rescheduling() | Terminated():
            return False


def is_idle_at_cap(state: SessionState) -> bool:
    """Whether the session is idle and its cost, which stands still then, has reached its budget."""
    if state.budget is None or not isinstance(state.status, Idle):
        return False
    spent = with_running_time(state.totals.list_cost_micro_usd, state.totals.active_seconds)
    return state.totals.has_unpriced or spent >= state.budget.micro_usd()


def shown_status(state: SessionState) -> StatusName:
    """The status that clients see: input that starts work but is not yet taken in counts as running."""
    if isinstance(state.status, Idle) and has_takeable_input(state):
        starts_work = state.is_paused or any(item.type != "system.message" for item in state.queue)
        return "running" if starts_work or not state.queue else "idle"
    return state.status.name


def is_waiting_for_client(state: SessionState) -> bool:
    """Idle, with calls that only the client can settle, and no interrupt on its way that closes them."""
    if not isinstance(state.status, Idle) or any(item.type == "user.interrupt" for item in state.queue):
        return False
    return bool(blockers(state))
