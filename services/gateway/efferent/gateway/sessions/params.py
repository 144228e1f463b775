"""Session requests: their shapes."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag

from efferent.common.domain.attachments import VAULTS_MAX
from efferent.common.domain.control.agent import AgentOverrides
from efferent.common.domain.control.aggregate import UNSET
from efferent.gateway.control.agent_params import OverrideParams
from efferent.gateway.control.tool_params import McpServerParams, ToolParams, resolve_servers, resolve_tools
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.sessions.budget_params import BudgetParams
from efferent.gateway.sessions.event_params import INITIAL_EVENTS_MAX, EventParams
from efferent.gateway.sessions.resource_params import ResourceList
from efferent.gateway.validation import Params, not_valid

TITLE_LENGTH_MAX: Final = 2_048
AGENT_TYPES: Final = ("agent", "agent_with_overrides")

Title = Annotated[str, Field(max_length=TITLE_LENGTH_MAX)]
Version = Annotated[int, Field(ge=1)]


def _one_of_the_two(value: object) -> object:
    """What is neither type of agent is told of both; which shape it has is chosen by it."""
    if value not in AGENT_TYPES:
        raise ValueError(not_valid(value, AGENT_TYPES))
    return value


class AgentReferenceParams(Params):
    """An agent at a version; without one the newest."""

    type: Annotated[Literal["agent"], BeforeValidator(_one_of_the_two)]
    id: str
    version: Version | None = None


class AgentWithOverridesParams(OverrideParams):
    """An agent of which this session changes single fields."""

    type: Literal["agent_with_overrides"]
    id: str
    version: Version | None = None


def _shape_of_agent(value: Any) -> str:
    if isinstance(value, dict):
        return "overrides" if value.get("type") == "agent_with_overrides" else "reference"
    return "id"


AgentField = Annotated[
    Annotated[str, Tag("id")]
    | Annotated[AgentReferenceParams, Tag("reference")]
    | Annotated[AgentWithOverridesParams, Tag("overrides")],
    Discriminator(_shape_of_agent),
]


class CreateSessionParams(Params):
    """``POST /v1/sessions``."""

    agent: AgentField
    environment_id: str
    title: Title | None = None
    metadata: dict[str, str] | None = None
    initial_events: Annotated[list[EventParams], Field(max_length=INITIAL_EVENTS_MAX)] | None = None
    resources: ResourceList | None = None
    vault_ids: Annotated[list[str], Field(max_length=VAULTS_MAX)] | None = None
    budget: BudgetParams | None = None


class SessionAgentParams(Params):
    """What an update may change of the session's agent: whole lists; an empty one or null clears."""

    tools: list[ToolParams] | None = None
    mcp_servers: list[McpServerParams] | None = None

    def overrides(self) -> AgentOverrides:
        """What is mentioned, as the domain takes it."""
        given = self.model_fields_set
        return AgentOverrides(
            tools=resolve_tools(self.tools) if "tools" in given else UNSET,
            mcp_servers=resolve_servers(self.mcp_servers) if "mcp_servers" in given else UNSET,
        )


class UpdateSessionParams(Params):
    """``POST /v1/sessions/{id}``: an omitted field stays as it is."""

    title: Title | None = None
    metadata: dict[str, str | None] | None = None
    agent: SessionAgentParams | None = None
    budget: BudgetParams | None = None
    """Null removes the budget for good."""
    vault_ids: JsonValue = None


def refuse_what_cannot_change(params: UpdateSessionParams) -> None:
    """Raise InvalidRequest for fields that an update may not have."""
    if "vault_ids" in params.model_fields_set:
        raise InvalidRequest("vault_ids: Not yet supported")
