"""Agents as they are stored and answered: the Agent resource, its tools and model configuration."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import AgentId
from efferent.common.domain.timestamp import Timestamp


class Effort(Shape):
    """How hard the model thinks."""

    type: Literal["low", "medium", "high", "xhigh", "max"] = "high"


class ModelConfig(Shape):
    """Which model runs the agent; ``inference_geo`` is written only when it is set."""

    id: str
    effort: Effort = Effort()
    speed: Literal["standard", "fast"] = "standard"
    inference_geo: Literal["us", "global"] | None = Field(default=None, exclude_if=lambda geo: geo is None)


class PermissionPolicy(Shape):
    """Who decides whether a tool call may run."""

    type: Literal["always_allow", "always_ask", "auto"]


class ToolsetDefaults(Shape):
    """What holds for the tools that have no entry of their own."""

    enabled: bool = True
    permission_policy: PermissionPolicy


class SandboxToolConfig(Shape):
    """Settings of a tool that runs in the sandbox."""

    type: Literal["bash", "edit", "read", "write", "glob", "grep"]
    name: Literal["bash", "edit", "read", "write", "glob", "grep"]
    enabled: bool
    permission_policy: PermissionPolicy


class UserLocation(Shape):
    """Where search results should be close to."""

    type: Literal["approximate"] = "approximate"
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class WebSearchConfig(Shape):
    """Settings of web_search."""

    type: Literal["web_search"] = "web_search"
    name: Literal["web_search"] = "web_search"
    enabled: bool
    permission_policy: PermissionPolicy
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] | None = None
    user_location: UserLocation | None = None


class ToolReference(Shape):
    """A tool named by its name."""

    type: Literal["tool_reference"] = "tool_reference"
    name: str


class EverySource(Shape):
    """All URLs of this source may be fetched, or none."""

    type: Literal["all", "none"]


class SomeSources(Shape):
    """URLs in results of these tools only, or of all but these."""

    type: Literal["only", "except"]
    tools: tuple[ToolReference, ...]


UrlSource = Annotated[EverySource | SomeSources, Field(discriminator="type")]


class UrlSources(Shape):
    """Which shown URLs web_fetch may fetch; null means not set, which allows."""

    user_input: EverySource | None = None
    client_tool_results: UrlSource | None = None
    server_tool_results: UrlSource | None = None


class WebFetchConfig(Shape):
    """Settings of web_fetch."""

    type: Literal["web_fetch"] = "web_fetch"
    name: Literal["web_fetch"] = "web_fetch"
    enabled: bool
    permission_policy: PermissionPolicy
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] | None = None
    max_content_tokens: int | None = None
    url_sources: UrlSources | None = None


BuiltinToolConfig = Annotated[SandboxToolConfig | WebSearchConfig | WebFetchConfig, Field(discriminator="type")]


class AgentToolset(Shape):
    """The built-in tools."""

    type: Literal["agent_toolset_20260401"] = "agent_toolset_20260401"
    configs: tuple[BuiltinToolConfig, ...] = ()
    default_config: ToolsetDefaults


class McpToolConfig(Shape):
    """Settings of one tool of an MCP server."""

    name: str
    enabled: bool
    permission_policy: PermissionPolicy


class McpToolset(Shape):
    """The tools of one MCP server."""

    type: Literal["mcp_toolset"] = "mcp_toolset"
    mcp_server_name: str
    configs: tuple[McpToolConfig, ...] = ()
    default_config: ToolsetDefaults


class CustomTool(Shape):
    """A tool that the API client runs; the schema is kept as the client sent it."""

    type: Literal["custom"] = "custom"
    name: str
    description: str
    input_schema: dict[str, JsonValue]


Tool = Annotated[AgentToolset | McpToolset | CustomTool, Field(discriminator="type")]


class McpServer(Shape):
    """An MCP server that the agent may use."""

    type: Literal["url"] = "url"
    name: str
    url: str


class AgentSkill(Shape):
    """A skill of an agent, with the version that was resolved."""

    type: Literal["anthropic", "custom"]
    skill_id: str
    version: str


class ExecutionIdentity(Shape):
    """Under which identity the agent acts; ``role_arn`` is written for ``aws_role`` only."""

    type: Literal["service_account"] = "service_account"


class AwsRoleIdentity(Shape):
    """An AWS role."""

    type: Literal["aws_role"] = "aws_role"
    role_arn: str


Identity = Annotated[ExecutionIdentity | AwsRoleIdentity, Field(discriminator="type")]


class AgentSnapshot(Shape):
    """The agent configuration that a session pins (``session.agent``)."""

    type: Literal["agent"] = "agent"
    id: AgentId
    version: int
    name: str
    description: str | None = None
    system: str | None = None
    model: ModelConfig
    tools: tuple[Tool, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()
    skills: tuple[AgentSkill, ...] = ()
    multiagent: None = None
    execution_identity: Identity = ExecutionIdentity()


class Agent(AgentSnapshot):
    """The Agent resource: one version of an agent."""

    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None
