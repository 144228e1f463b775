"""Deployments as they are stored: an agent with everything that a session of it needs, and when to start one.

What clients see has more (computed times) and less (sealed tokens): ``shown`` says what.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from efferent.common.domain.content import MessageBlock, Shape, TextBlock
from efferent.common.domain.events.user import FileRubric, TextRubric
from efferent.common.domain.ids import AgentId, DeploymentId, EnvironmentId
from efferent.common.domain.resources.session_resource import Checkout, MemoryAccess
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit


class AgentReference(Shape):
    """An agent at one version."""

    type: Literal["agent"] = "agent"
    id: AgentId
    version: int


class CronSchedule(Shape):
    """When sessions start by themselves."""

    type: Literal["cron"] = "cron"
    expression: str
    timezone: str


class MessageEvent(Shape):
    """A user turn that each session begins with."""

    type: Literal["user.message"] = "user.message"
    content: tuple[MessageBlock, ...]


class OutcomeEvent(Shape):
    """A goal that each session begins with."""

    type: Literal["user.define_outcome"] = "user.define_outcome"
    description: str
    rubric: Annotated[TextRubric | FileRubric, Field(discriminator="type")]
    max_iterations: int | None = None


class SystemEvent(Shape):
    """System text that each session begins with."""

    type: Literal["system.message"] = "system.message"
    content: tuple[TextBlock, ...]


InitialEvent = Annotated[MessageEvent | OutcomeEvent | SystemEvent, Field(discriminator="type")]


class FileConfig(Shape):
    """A file for each session."""

    type: Literal["file"] = "file"
    file_id: str
    mount_path: str | None = None


class RepositoryConfig(Shape):
    """A repository for each session; its token is sealed elsewhere."""

    type: Literal["github_repository"] = "github_repository"
    url: str
    mount_path: str | None = None
    checkout: Checkout | None = None


class MemoryStoreConfig(Shape):
    """A memory store for each session."""

    type: Literal["memory_store"] = "memory_store"
    memory_store_id: str
    access: MemoryAccess | None = None
    instructions: str | None = None


ResourceConfig = Annotated[FileConfig | RepositoryConfig | MemoryStoreConfig, Field(discriminator="type")]


PausingErrorType = Literal[
    "environment_archived_error",
    "agent_archived_error",
    "environment_not_found_error",
    "vault_not_found_error",
    "vault_archived_error",
    "file_not_found_error",
    "memory_store_archived_error",
    "skill_not_found_error",
    "session_resource_not_found_error",
    "workspace_archived_error",
    "organization_disabled_error",
    "self_hosted_resources_unsupported_error",
    "mcp_egress_blocked_error",
    "unknown_error",
]
"""What is wrong with a deployment itself: it would fail again, so the schedule stops."""


class PausingError(Shape):
    """The error of the run that paused the deployment."""

    type: PausingErrorType


class ManualPause(Shape):
    """Somebody paused it."""

    type: Literal["manual"] = "manual"


class ErrorPause(Shape):
    """A run that failed for good paused it."""

    type: Literal["error"] = "error"
    error: PausingError


PausedReason = Annotated[ManualPause | ErrorPause, Field(discriminator="type")]
DeploymentStatus = Literal["active", "paused"]


class Deployment(Shape):
    """The Deployment resource as the log holds it."""

    type: Literal["deployment"] = "deployment"
    id: DeploymentId
    name: str
    description: str | None = None
    agent: AgentReference
    environment_id: EnvironmentId
    initial_events: tuple[InitialEvent, ...]
    schedule: CronSchedule | None = None
    paused_reason: PausedReason | None = None
    resources: tuple[ResourceConfig, ...] = ()
    tokens: Sealed | None = None
    """Tokens of repositories by their index among the resources. Never shown."""
    vault_ids: tuple[str, ...] = ()
    budget: BudgetLimit | None = Field(default=None, exclude_if=lambda budget: budget is None)
    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None

    @property
    def status(self) -> DeploymentStatus:
        """Whether the schedule runs; an archived deployment counts as active."""
        return "active" if self.paused_reason is None else "paused"

    @property
    def is_due(self) -> bool:
        """Whether the schedule starts sessions."""
        return self.schedule is not None and self.paused_reason is None and self.archived_at is None


class ShownSchedule(CronSchedule):
    """The schedule with the times that go with it."""

    last_run_at: Timestamp | None = None
    upcoming_runs_at: tuple[Timestamp, ...] = ()


class ShownDeployment(Shape):
    """The Deployment resource as clients get it."""

    type: Literal["deployment"] = "deployment"
    id: DeploymentId
    name: str
    description: str | None
    agent: AgentReference
    environment_id: EnvironmentId
    initial_events: tuple[InitialEvent, ...]
    schedule: ShownSchedule | None
    status: DeploymentStatus
    paused_reason: PausedReason | None
    resources: tuple[ResourceConfig, ...]
    vault_ids: tuple[str, ...]
    budget: BudgetLimit | None = Field(default=None, exclude_if=lambda budget: budget is None)
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None


def shown(
    deployment: Deployment, *, last_run_at: Timestamp | None = None, upcoming_runs_at: tuple[Timestamp, ...] = ()
) -> BaseModel:
    """What clients get of it."""
    fields = {name: getattr(deployment, name) for name in ShownDeployment.model_fields if name != "schedule"}
    schedule = None
    if deployment.schedule is not None:
        schedule = ShownSchedule(
            expression=deployment.schedule.expression,
            timezone=deployment.schedule.timezone,
            last_run_at=last_run_at,
            upcoming_runs_at=upcoming_runs_at,
        )
    return ShownDeployment(schedule=schedule, **fields)
