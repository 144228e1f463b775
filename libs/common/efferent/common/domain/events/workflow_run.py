"""Events about workflow runs: ``workflow_run.*``."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import EventId
from efferent.common.domain.timestamp import Timestamp


class WorkflowRunPhase(Shape):
    """One phase of the plan."""

    id: str
    name: str
    description: str | None = None


class WorkflowRunFailure(Shape):
    """Why a run failed or could not be made."""

    type: Literal["timeout_error", "program_error", "unknown_error", "thread_limit_error", "max_workflow_runs_error"]
    message: str


class WorkflowRunCompleted(Shape):
    """The program finished."""

    type: Literal["completed"] = "completed"


class WorkflowRunFailed(Shape):
    """The program failed."""

    type: Literal["error"] = "error"
    error: WorkflowRunFailure


class WorkflowRunStopped(Shape):
    """The run was stopped."""

    type: Literal["stopped"] = "stopped"


WorkflowRunResult = Annotated[
    WorkflowRunCompleted | WorkflowRunFailed | WorkflowRunStopped, Field(discriminator="type")
]


class WorkflowRunCreated(Shape):
    """A run was made; the first of its events."""

    type: Literal["workflow_run.created"] = "workflow_run.created"
    id: EventId
    workflow_run_id: str
    name: str
    description: str | None = None
    phases: tuple[WorkflowRunPhase, ...] = ()
    processed_at: Timestamp


class WorkflowRunStatusRunning(Shape):
    """The run starts or resumes."""

    type: Literal["workflow_run.status_running"] = "workflow_run.status_running"
    id: EventId
    workflow_run_id: str
    processed_at: Timestamp


class WorkflowRunStatusIdle(Shape):
    """The run is idle."""

    type: Literal["workflow_run.status_idle"] = "workflow_run.status_idle"
    id: EventId
    workflow_run_id: str
    processed_at: Timestamp


class WorkflowRunStatusEnded(Shape):
    """The run is over; the last of its events."""

    type: Literal["workflow_run.status_ended"] = "workflow_run.status_ended"
    id: EventId
    workflow_run_id: str
    result: WorkflowRunResult
    processed_at: Timestamp


class WorkflowRunError(Shape):
    """A run failed, or could not be made (then without a run id)."""

    type: Literal["workflow_run.error"] = "workflow_run.error"
    id: EventId
    workflow_run_id: str | None = None
    error: WorkflowRunFailure
    processed_at: Timestamp


class WorkflowRunPhaseStarted(Shape):
    """The plan entered a phase."""

    type: Literal["workflow_run.phase_started"] = "workflow_run.phase_started"
    id: EventId
    workflow_run_id: str
    workflow_run_phase_id: str
    processed_at: Timestamp


class WorkflowRunPhaseEnded(Shape):
    """The phase was left."""

    type: Literal["workflow_run.phase_ended"] = "workflow_run.phase_ended"
    id: EventId
    workflow_run_id: str
    workflow_run_phase_id: str
    phase_started_id: EventId
    processed_at: Timestamp
