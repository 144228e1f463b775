"""Agents as clients write them: bodies of create and update, models, and the overrides that a session may make."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from efferent.common.domain.control.agent import (
    DEFAULT_IDENTITY,
    DESCRIPTION_LENGTH_MAX,
    NAME_LENGTH_MAX,
    ROLE_ARN_LENGTH_MAX,
    SYSTEM_LENGTH_MAX,
    AgentFields,
    AgentOverrides,
)
from efferent.common.domain.control.agent_skills import SKILL_ID_LENGTH_MAX, SKILL_VERSION_LENGTH_MAX
from efferent.common.domain.control.aggregate import UNSET
from efferent.common.domain.control.model_choice import ModelChoice
from efferent.common.domain.resources.agent import AgentSkill, AwsRoleIdentity, Identity
from efferent.common.model_config import ModelConfigs, UnknownModel
from efferent.common.skills.resolver import LATEST, WantedSkill
from efferent.gateway.control.tool_params import McpServerParams, ToolParams, resolve_servers, resolve_tools
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params

Level = Literal["low", "medium", "high", "xhigh", "max"]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
System = Annotated[str, Field(max_length=SYSTEM_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]
ModelId = Annotated[str, Field(min_length=1, max_length=256)]


class EffortParams(Params):
    """An effort level as an object."""

    type: Level


def _word_or_object(value: Any) -> str:
    return "word" if isinstance(value, str) else "object"


EffortField = Annotated[
    Annotated[Level, Tag("word")] | Annotated[EffortParams, Tag("object")], Discriminator(_word_or_object)
]


class ModelParams(Params):
    """A model with its settings."""

    id: ModelId
    effort: EffortField | None = None
    speed: Literal["standard", "fast"] | None = None
    inference_geo: Literal["us", "global"] | None = None


ModelField = Annotated[
    Annotated[ModelId, Tag("word")] | Annotated[ModelParams, Tag("object")], Discriminator(_word_or_object)
]


class ServiceAccountParams(Params):
    """The default identity."""

    type: Literal["service_account"]


class AwsRoleParams(Params):
    """An AWS role."""

    type: Literal["aws_role"]
    role_arn: Annotated[str, Field(min_length=1, max_length=ROLE_ARN_LENGTH_MAX)]


IdentityField = Annotated[ServiceAccountParams | AwsRoleParams, Field(discriminator="type")]


def _unavailable(value: JsonValue) -> JsonValue:
    if value is not None:
        raise ValueError("not available in this release")
    return value


NotYet = Annotated[JsonValue, AfterValidator(_unavailable)]


class SkillParams(Params):
    """A skill; no version means the newest one at the time when a session is made."""

    type: Literal["anthropic", "custom"]
    skill_id: Annotated[str, Field(min_length=1, max_length=SKILL_ID_LENGTH_MAX)]
    version: Annotated[str, Field(min_length=1, max_length=SKILL_VERSION_LENGTH_MAX)] | None = None


class SharedParams(Params):
    """Fields that create and update have in common."""

    description: Description | None = None
    system: System | None = None
    tools: list[ToolParams] | None = None
    mcp_servers: list[McpServerParams] | None = None
    execution_identity: IdentityField | None = None
    skills: list[SkillParams] | None = None
    multiagent: NotYet = None

    def fields(self, **more: Any) -> AgentFields:
        """What is mentioned, as the domain takes it."""
        given = self.model_fields_set
        return AgentFields(
            description=self.description if "description" in given else UNSET,
            system=self.system if "system" in given else UNSET,
            tools=resolve_tools(self.tools) if "tools" in given else UNSET,
            mcp_servers=resolve_servers(self.mcp_servers) if "mcp_servers" in given else UNSET,
            skills=_skills(self.skills) if "skills" in given else UNSET,
            execution_identity=_identity(self.execution_identity) if "execution_identity" in given else UNSET,
            **more,
        )


class CreateAgentParams(SharedParams):
    """Body of ``POST /v1/agents``."""

    name: Name
    model: ModelField
    metadata: dict[str, str] | None = None


class UpdateAgentParams(SharedParams):
    """Body of ``POST /v1/agents/{agent_id}``: what is not mentioned stays."""

    name: Name | None = None
    model: ModelField | None = None
    metadata: dict[str, str | None] | None = None
    version: Annotated[int, Field(ge=1)] | None = None


class OverrideParams(Params):
    """What one session may change of an agent; sessions add ``type``, ``id`` and ``version``."""

    model: ModelField | None = None
    system: System | None = None
    tools: list[ToolParams] | None = None
    mcp_servers: list[McpServerParams] | None = None
    skills: list[SkillParams] | None = None

    def overrides(self, models: ModelConfigs) -> AgentOverrides:
        """What is mentioned, as the domain takes it. Raises InvalidRequest."""
        given = self.model_fields_set
        if "model" in given and self.model is None:
            raise InvalidRequest("agent.model: must not be null (agent_model_required)")
        return AgentOverrides(
            model=model_choice(self.model, models, at="agent.model") if self.model is not None else UNSET,
            system=self.system if "system" in given else UNSET,
            tools=resolve_tools(self.tools) if "tools" in given else UNSET,
            mcp_servers=resolve_servers(self.mcp_servers) if "mcp_servers" in given else UNSET,
            skills=_skills(self.skills) if "skills" in given else UNSET,
        )


def model_choice(model: str | ModelParams, models: ModelConfigs, *, at: str = "model") -> ModelChoice:
    """The model with what is known about it. Raises InvalidRequest when no provider answers for it."""
    params = ModelParams(id=model) if isinstance(model, str) else model
    try:
        traits = models.traits(params.id)
    except UnknownModel as error:
        raise InvalidRequest(f"{at}: {error}") from error
    effort = params.effort.type if isinstance(params.effort, EffortParams) else params.effort
    return ModelChoice(
        traits=traits, id=params.id, effort=effort, speed=params.speed, inference_geo=params.inference_geo
    )


def wanted_skills(params: Sequence[SkillParams] | None) -> list[WantedSkill]:
    """The skills that are asked for, to be looked up."""
    return [WantedSkill(skill.type, skill.skill_id, skill.version) for skill in params or ()]


def _skills(params: Sequence[SkillParams] | None) -> tuple[AgentSkill, ...]:
    return tuple(
        AgentSkill(type=skill.type, skill_id=skill.skill_id, version=skill.version or LATEST) for skill in params or ()
    )


def _identity(params: ServiceAccountParams | AwsRoleParams | None) -> Identity:
    return AwsRoleIdentity(role_arn=params.role_arn) if isinstance(params, AwsRoleParams) else DEFAULT_IDENTITY
