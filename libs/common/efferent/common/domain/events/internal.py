"""Facts that the API has no word for: ``internal.*``. They live in the same records and are never shown to clients."""

from typing import Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.events.user import QueuedInput
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
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import EnvironmentConfig
from efferent.common.domain.resources.session_resource import PinnedSkill, SessionResource, StoredContent
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit


class SessionCreated(Shape):
    """The first event of every session: everything that the session pins."""

    type: Literal["internal.session_created"] = "internal.session_created"
    id: EventId
    session_id: SessionId
    workspace_id: WorkspaceId
    primary_thread_id: ThreadId
    agent: AgentSnapshot
    environment_id: EnvironmentId
    environment_config: EnvironmentConfig
    title: str | None = None
    metadata: dict[str, str] = {}
    vault_ids: tuple[str, ...] = ()
    deployment_id: str | None = None
    budget: BudgetLimit | None = Field(default=None, exclude_if=lambda budget: budget is None)
    processed_at: Timestamp


class WorkPaused(Shape):
    """The turn stopped at the budget before it was done: it goes on when the budget is raised or removed."""

    type: Literal["internal.work_paused"] = "internal.work_paused"
    id: EventId
    processed_at: Timestamp


class ResourceAttached(Shape):
    """The session has this resource from here on."""

    type: Literal["internal.resource_attached"] = "internal.resource_attached"
    id: EventId
    resource: SessionResource
    content: StoredContent | None = None
    processed_at: Timestamp


class ResourceRemoved(Shape):
    """The session has this resource no longer."""

    type: Literal["internal.resource_removed"] = "internal.resource_removed"
    id: EventId
    resource_id: SessionResourceId
    processed_at: Timestamp


class RepositoryTokensSealed(Shape):
    """The tokens of all repositories of the session, encrypted, by resource id. They replace the earlier ones."""

    type: Literal["internal.repository_tokens_sealed"] = "internal.repository_tokens_sealed"
    id: EventId
    sealed: Sealed
    rotated: SessionResourceId | None = None
    """The repository whose token is another one now."""
    processed_at: Timestamp


class SkillsPinned(Shape):
    """The skills of the session's agent at the versions that the session uses, with what its model is told."""

    type: Literal["internal.skills_pinned"] = "internal.skills_pinned"
    id: EventId
    skills: tuple[PinnedSkill, ...]
    processed_at: Timestamp


class InputQueued(Shape):
    """A client event waits to be taken in; a later record repeats it with ``processed_at`` set."""

    type: Literal["internal.input_queued"] = "internal.input_queued"
    id: EventId
    event: QueuedInput
    processed_at: Timestamp


class RequestAccepted(Shape):
    """The record answers a request that carried this ``Idempotency-Key``."""

    type: Literal["internal.request_accepted"] = "internal.request_accepted"
    id: EventId
    idempotency_key: str
    event_ids: tuple[EventId, ...]
    processed_at: Timestamp


class TurnClaimed(Shape):
    """This brain works on the session from here on; every earlier claim has lost."""

    type: Literal["internal.turn_claimed"] = "internal.turn_claimed"
    id: EventId
    claim_id: ClaimId
    brain_id: BrainId
    processed_at: Timestamp


class ModelThought(Shape):
    """Thinking of the model at this place of its answer, replayed with its signature to the model that made it."""

    type: Literal["internal.model_thought"] = "internal.model_thought"
    id: EventId
    model: str
    thinking: str = ""
    signature: str | None = None
    redacted_data: str | None = None
    processed_at: Timestamp


class ModelRequestPriced(Shape):
    """What the request whose span just ended costs at list price; None when the model has no list price."""

    type: Literal["internal.model_request_priced"] = "internal.model_request_priced"
    id: EventId
    model: str
    list_cost_micro_usd: int | None
    processed_at: Timestamp


class RetryScheduled(Shape):
    """The failed model request is tried again, not before this time."""

    type: Literal["internal.retry_scheduled"] = "internal.retry_scheduled"
    id: EventId
    attempt: int
    not_before: Timestamp
    processed_at: Timestamp


class SessionArchived(Shape):
    """A client archived the session; the public terminated events follow in the same record."""

    type: Literal["internal.session_archived"] = "internal.session_archived"
    id: EventId
    processed_at: Timestamp


class MetadataCleared(Shape):
    """The metadata bag is empty from here on (``session.updated`` does not show an empty bag)."""

    type: Literal["internal.metadata_cleared"] = "internal.metadata_cleared"
    id: EventId
    processed_at: Timestamp


class CompactionDue(Shape):
    """The context nears the model's window: it is summarised before the next request."""

    type: Literal["internal.compaction_due"] = "internal.compaction_due"
    id: EventId
    processed_at: Timestamp


class ContextCompacted(Shape):
    """The summary stands for everything in the context up to this event."""

    type: Literal["internal.context_compacted"] = "internal.context_compacted"
    id: EventId
    summary: str
    up_to: EventId
    processed_at: Timestamp
