"""Deployments: commands, and what they decide.

A deployment pins its agent to one version; whether what it names exists is checked by whoever makes the command. An
archived deployment stays as it is for good, and counts as active.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind, SetFacts
from efferent.common.domain.control.cron import parse_cron
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.control.schedule import parse_timezone
from efferent.common.domain.ids import DeploymentId, EnvironmentId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.deployment import (
    AgentReference,
    CronSchedule,
    Deployment,
    ErrorPause,
    ManualPause,
    MessageEvent,
    OutcomeEvent,
    ResourceConfig,
    SystemEvent,
    shown,
)
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit

NAME_LENGTH_MAX: Final = 256
DESCRIPTION_LENGTH_MAX: Final = 2_048
INITIAL_EVENTS_MAX: Final = 50
SCHEDULED_MAX: Final = 1_000
"""Deployments with a schedule in the organization, archived ones not counted."""

ARCHIVED_TEXT: Final = "Cannot modify archived deployment"


def too_many_scheduled(most: int) -> InvalidRequest:
    """The refusal of one more schedule."""
    return InvalidRequest(f"schedule: at most {most} deployments of an organization may have a schedule")


def admit_scheduled(most: int = SCHEDULED_MAX) -> Callable[[Deployment, SetFacts], None]:
    """The rule over all deployments with a schedule. It raises InvalidRequest for one too many."""

    def admit(_deployment: Deployment, facts: SetFacts) -> None:
        if facts.members >= most:
            raise too_many_scheduled(most)

    return admit


DEPLOYMENT: Final[Kind[Deployment]] = Kind(
    name="deployment",
    prefix="depl_",
    record=ControlRecord[Deployment],
    noun="deployment",
    deeds=("created", "updated", "paused", "unpaused", "archived"),
    within="organization",
    counts=lambda deployment: deployment.schedule is not None,
    admit=admit_scheduled(),
    facets=lambda deployment: {
        "agent_id": deployment.agent.id,
        "status": deployment.status,
    },
    show=shown,
)


@dataclass(frozen=True, slots=True)
class DeploymentFields:
    """Fields that a request gives a deployment; what is not mentioned stays."""

    name: Given[str] = UNSET
    description: Given[str | None] = UNSET
    agent: Given[AgentReference] = UNSET
    environment_id: Given[EnvironmentId] = UNSET
    initial_events: Given[tuple[MessageEvent | OutcomeEvent | SystemEvent, ...]] = UNSET
    schedule: Given[CronSchedule | None] = UNSET
    resources: Given[tuple[ResourceConfig, ...]] = UNSET
    tokens: Given[Sealed | None] = UNSET
    """Goes with ``resources``: the tokens of its repositories."""
    vault_ids: Given[tuple[str, ...]] = UNSET
    budget: Given[BudgetLimit | None] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)
    """A patch: null removes a key."""


@dataclass(frozen=True, slots=True)
class CreateDeployment:
    """Make a deployment."""

    id: DeploymentId
    name: str
    agent: AgentReference
    environment_id: EnvironmentId
    initial_events: tuple[MessageEvent | OutcomeEvent | SystemEvent, ...]
    fields: DeploymentFields = field(default_factory=DeploymentFields)
    """Everything else."""


@dataclass(frozen=True, slots=True)
class UpdateDeployment:
    """Change what is mentioned."""

    fields: DeploymentFields


@dataclass(frozen=True, slots=True)
class PauseDeployment:
    """Let the schedule rest. A pause that is there already stays as it is."""

    reason: ManualPause | ErrorPause = field(default_factory=ManualPause)


@dataclass(frozen=True, slots=True)
class UnpauseDeployment:
    """Let the schedule go on from now; what it missed is not made up for."""


@dataclass(frozen=True, slots=True)
class ArchiveDeployment:
    """Make the deployment read-only for good."""


DeploymentCommand = CreateDeployment | UpdateDeployment | PauseDeployment | UnpauseDeployment | ArchiveDeployment


def not_found() -> NotFound:
    """The refusal when there is no such deployment."""
    return NotFound("Deployment not found.")


def decide(current: Deployment | None, command: DeploymentCommand, now: Timestamp) -> Change[Deployment] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    if isinstance(command, CreateDeployment):
        if current is not None:
            raise Conflict(f"deployment {command.id} exists already")
        return Change("created", _create(command, now))
    if current is None:
        raise not_found()
    now = max(now, current.updated_at)
    if isinstance(command, ArchiveDeployment):
        if current.archived_at is not None:
            return None
        return Change(
            "archived", current.model_copy(update={"archived_at": now, "updated_at": now, "paused_reason": None})
        )
    if current.archived_at is not None:
        raise InvalidRequest(ARCHIVED_TEXT)
    match command:
        case UpdateDeployment():
            changed = _with_fields(current, command.fields)
            return None if changed == current else Change("updated", changed.model_copy(update={"updated_at": now}))
        case PauseDeployment():
            if current.paused_reason is not None:
                return None
            update: dict[str, object] = {"paused_reason": command.reason, "updated_at": now}
            return Change("paused", current.model_copy(update=update))
        case UnpauseDeployment():
            if current.paused_reason is None:
                return None
            return Change("unpaused", current.model_copy(update={"paused_reason": None, "updated_at": now}))


def check_schedule(schedule: CronSchedule) -> None:
    """Raise InvalidRequest that names the field when the schedule cannot be kept."""
    try:
        parse_cron(schedule.expression)
    except InvalidRequest as refusal:
        raise InvalidRequest(f"schedule.expression: {refusal.message}") from refusal
    try:
        parse_timezone(schedule.timezone)
    except InvalidRequest as refusal:
        raise InvalidRequest(f"schedule.timezone: {refusal.message}") from refusal


def check_initial_events(events: Sequence[MessageEvent | OutcomeEvent | SystemEvent]) -> None:
    """Raise InvalidRequest when sessions cannot begin with these events."""
    if not 1 <= len(events) <= INITIAL_EVENTS_MAX:
        raise InvalidRequest(f"initial_events: must have 1 to {INITIAL_EVENTS_MAX} entries")
    if all(isinstance(event, SystemEvent) for event in events):
        raise InvalidRequest("initial_events: at least one user.message or user.define_outcome is required")


def _create(command: CreateDeployment, now: Timestamp) -> Deployment:
    check_initial_events(command.initial_events)
    blank = Deployment(
        id=command.id,
        name=command.name,
        agent=command.agent,
        environment_id=command.environment_id,
        initial_events=command.initial_events,
        created_at=now,
        updated_at=now,
    )
    return _with_fields(blank, command.fields)


def _with_fields(deployment: Deployment, fields: DeploymentFields) -> Deployment:
    changes: dict[str, object] = {"metadata": merged(deployment.metadata, fields.metadata)}
    if fields.description is not UNSET:
        changes["description"] = fields.description or None
    if fields.initial_events is not UNSET:
        check_initial_events(fields.initial_events)
    if fields.schedule is not UNSET and fields.schedule is not None:
        check_schedule(fields.schedule)
    for name in (
        "name",
        "agent",
        "environment_id",
        "initial_events",
        "schedule",
        "resources",
        "tokens",
        "vault_ids",
        "budget",
    ):
        if (given := getattr(fields, name)) is not UNSET:
            changes[name] = given
    return deployment.model_copy(update=changes)
