"""Runs of deployments: started once, and finished once with a session or an error. Nobody sees them before they are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from efferent.common.domain import timestamp
from efferent.common.domain.control.aggregate import Change, ControlRecord, Kind
from efferent.common.domain.ids import DeploymentId, DeploymentRunId, SessionId, derive
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.deployment import AgentReference
from efferent.common.domain.resources.deployment_run import DeploymentRun, ManualTrigger, RunError, ScheduleTrigger
from efferent.common.domain.timestamp import Timestamp

FINISHED: Final = "finished"
HAS_ERROR: Final = "has_error"
TRIGGER_TYPE: Final = "trigger_type"

DEPLOYMENT_RUN: Final[Kind[DeploymentRun]] = Kind(
    name="deployment_run",
    prefix="drun_",
    record=ControlRecord[DeploymentRun],
    noun="deployment run",
    deeds=("started", "succeeded", "failed", "deleted"),
    parent=lambda run: run.deployment_id,
    facets=lambda run: {
        FINISHED: _word(run.is_finished),
        HAS_ERROR: _word(run.error is not None),
        TRIGGER_TYPE: run.trigger_context.type,
    },
    says_shape=True,
)


@dataclass(frozen=True, slots=True)
class StartRun:
    """Begin a run; beginning it again changes nothing."""

    id: DeploymentRunId
    deployment_id: DeploymentId
    agent: AgentReference
    trigger: ScheduleTrigger | ManualTrigger


@dataclass(frozen=True, slots=True)
class FinishRun:
    """Record what came of it: a session, or an error. The first answer stays."""

    outcome: SessionId | RunError


@dataclass(frozen=True, slots=True)
class AbandonRun:
    """Forget a run that came to nothing because there is no deployment any more."""


RunCommand = StartRun | FinishRun | AbandonRun


def not_found() -> NotFound:
    """The refusal when there is no such run."""
    return NotFound("Deployment run not found.")


def decide(current: DeploymentRun | None, command: RunCommand, now: Timestamp) -> Change[DeploymentRun] | None:
    """The next state; None when nothing changes. Raises NotFound."""
    if isinstance(command, StartRun):
        if current is not None:
            return None
        run = DeploymentRun(
            id=command.id,
            deployment_id=command.deployment_id,
            agent=command.agent,
            trigger_context=command.trigger,
            created_at=now,
        )
        return Change("started", run)
    if current is None:
        raise not_found()
    if current.is_finished:
        return None
    now = max(now, current.created_at)
    match command:
        case FinishRun(outcome=RunError() as error):
            return Change("failed", current.model_copy(update={"error": error, "created_at": now}))
        case FinishRun(outcome=session_id):
            return Change("succeeded", current.model_copy(update={"session_id": session_id, "created_at": now}))
        case AbandonRun():
            return Change("deleted", current)


def run_of_slot(deployment_id: DeploymentId, slot: datetime) -> DeploymentRunId:
    """The id of the one run that a slot may have."""
    return DeploymentRunId(derive("drun_", deployment_id, timestamp.from_datetime(slot)))


def run_of_key(deployment_id: DeploymentId, idempotency_key: str) -> DeploymentRunId:
    """The id of the one run that requests with this ``Idempotency-Key`` may begin."""
    return DeploymentRunId(derive("drun_", deployment_id, "idempotency-key", idempotency_key))


def session_of_run(run_id: DeploymentRunId) -> SessionId:
    """The id of the one session that a run may make."""
    return SessionId(derive("sesn_", run_id, "session"))


def _word(value: bool) -> str:
    return "true" if value else "false"
