"""Deployments as requests carry them, and what they ask for."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from efferent.common.domain.attachments import VAULTS_MAX, FileSpec, MemoryStoreSpec, RepositorySpec, ResourceSpec
from efferent.common.domain.commands import MessageDraft, SystemDraft
from efferent.common.domain.control.cron import EXPRESSION_LENGTH_MAX
from efferent.common.domain.control.deployment import DESCRIPTION_LENGTH_MAX, INITIAL_EVENTS_MAX, NAME_LENGTH_MAX
from efferent.common.domain.control.schedule import TIMEZONE_LENGTH_MAX
from efferent.common.domain.resources.deployment import (
    CronSchedule,
    FileConfig,
    MemoryStoreConfig,
    MessageEvent,
    RepositoryConfig,
    ResourceConfig,
    SystemEvent,
)
from efferent.common.session_creation import AgentChoice
from efferent.gateway.sessions.budget_params import BudgetParams
from efferent.gateway.sessions.event_params import (
    SystemMessageParams,
    UserDefineOutcomeParams,
    UserMessageParams,
    check_file_documents,
    draft_at,
)
from efferent.gateway.sessions.resource_params import ResourceParams
from efferent.gateway.validation import Params

RESOURCES_MAX: Final = 500

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]


class AgentParams(Params):
    """An agent at a version; without one the newest."""

    type: Literal["agent"]
    id: str
    version: Annotated[int, Field(ge=1)] | None = None


AgentField = Annotated[
    Annotated[str, Tag("id")] | Annotated[AgentParams, Tag("reference")],
    Discriminator(lambda value: "id" if isinstance(value, str) else "reference"),
]
InitialEventParams = Annotated[
    UserMessageParams | UserDefineOutcomeParams | SystemMessageParams, Field(discriminator="type")
]
InitialEventList = Annotated[list[InitialEventParams], Field(min_length=1, max_length=INITIAL_EVENTS_MAX)]
ResourceList = Annotated[list[ResourceParams], Field(max_length=RESOURCES_MAX)]
VaultList = Annotated[list[str], Field(max_length=VAULTS_MAX)]


class ScheduleParams(Params):
    """When sessions start by themselves."""

    type: Literal["cron"]
    expression: Annotated[str, Field(max_length=EXPRESSION_LENGTH_MAX)]
    timezone: Annotated[str, Field(max_length=TIMEZONE_LENGTH_MAX)]

    def schedule(self) -> CronSchedule:
        """As it is stored."""
        return CronSchedule(expression=self.expression, timezone=self.timezone)


class CreateDeploymentParams(Params):
    """Body of ``POST /v1/deployments``."""

    name: Name
    agent: AgentField
    environment_id: str
    initial_events: InitialEventList
    description: Description | None = None
    schedule: ScheduleParams | None = None
    budget: BudgetParams | None = None
    resources: ResourceList | None = None
    vault_ids: VaultList | None = None
    metadata: dict[str, str] | None = None


_NOT_GIVEN: Any = None
"""Default of fields that may be left out but not be null."""


class UpdateDeploymentParams(Params):
    """Body of ``POST /v1/deployments/{deployment_id}``: what is not mentioned stays."""

    name: Name = _NOT_GIVEN
    agent: AgentField = _NOT_GIVEN
    environment_id: str = _NOT_GIVEN
    initial_events: InitialEventList = _NOT_GIVEN
    description: Description | None = None
    schedule: ScheduleParams | None = None
    budget: BudgetParams | None = None
    resources: ResourceList | None = None
    vault_ids: VaultList | None = None
    metadata: dict[str, str | None] | None = None


def agent_choice(params: str | AgentParams) -> AgentChoice:
    """The agent that is asked for."""
    return AgentChoice(params) if isinstance(params, str) else AgentChoice(params.id, params.version)


def initial_events(
    events: Sequence[UserMessageParams | UserDefineOutcomeParams | SystemMessageParams],
) -> tuple[MessageEvent | SystemEvent, ...]:
    """The events as they are stored. Raises InvalidRequest that names the place."""
    check_file_documents(events)
    made: list[MessageEvent | SystemEvent] = []
    for index, event in enumerate(events):
        match draft_at(f"initial_events[{index}]", event):
            case MessageDraft(content=content):
                made.append(MessageEvent(content=content))
            case SystemDraft(content=text):
                made.append(SystemEvent(content=text))
            case _:
                raise RuntimeError("an initial event became something else")
    return tuple(made)


def resource_configs(specs: Sequence[ResourceSpec]) -> tuple[ResourceConfig, ...]:
    """Resources as they are stored: everything but tokens."""
    return tuple(_config(spec) for spec in specs)


def tokens_of(specs: Sequence[ResourceSpec]) -> dict[str, str]:
    """The tokens of repositories by their index as text."""
    return {
        str(index): spec.authorization_token
        for index, spec in enumerate(specs)
        if isinstance(spec, RepositorySpec) and spec.authorization_token is not None
    }


def _config(spec: ResourceSpec) -> ResourceConfig:
    match spec:
        case FileSpec():
            return FileConfig(file_id=spec.file_id, mount_path=spec.mount_path)
        case RepositorySpec():
            return RepositoryConfig(url=spec.url, mount_path=spec.mount_path, checkout=spec.checkout)
        case MemoryStoreSpec():
            return MemoryStoreConfig(
                memory_store_id=spec.memory_store_id, access=spec.access, instructions=spec.instructions
            )
