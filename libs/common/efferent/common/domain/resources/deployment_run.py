"""Runs of deployments: each try to start a session, whether it led to one or to an error."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import DeploymentId, DeploymentRunId, SessionId
from efferent.common.domain.resources.deployment import AgentReference, PausingErrorType
from efferent.common.domain.timestamp import Timestamp

RunErrorType = PausingErrorType | Literal["session_rate_limited_error", "session_creation_rejected_error"]
"""Every error of a run; the last two may be gone at the next try."""


class RunError(Shape):
    """Why no session was made."""

    type: RunErrorType
    message: str


class ScheduleTrigger(Shape):
    """The schedule did it."""

    type: Literal["schedule"] = "schedule"
    scheduled_at: Timestamp


class ManualTrigger(Shape):
    """Somebody asked for it."""

    type: Literal["manual"] = "manual"


Trigger = Annotated[ScheduleTrigger | ManualTrigger, Field(discriminator="type")]


class DeploymentRun(Shape):
    """The DeploymentRun resource; it is shown when exactly one of session and error is there."""

    type: Literal["deployment_run"] = "deployment_run"
    id: DeploymentRunId
    deployment_id: DeploymentId
    agent: AgentReference
    trigger_context: Trigger
    session_id: SessionId | None = None
    error: RunError | None = None
    created_at: Timestamp

    @property
    def archived_at(self) -> None:
        """Runs are never archived."""
        return

    @property
    def is_finished(self) -> bool:
        """Whether it is known what came of it."""
        return self.session_id is not None or self.error is not None
