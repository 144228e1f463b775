"""Tools and MCP servers as clients write them, and how they become what is stored: every default filled in.

Sessions take the same shapes in their overrides and updates.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, ValidationInfo, field_validator

from efferent.common.domain.control.agent_rules import MCP_NAME_LENGTH_MAX, MCP_URL_LENGTH_MAX
from efferent.common.domain.resources.agent import (
    AgentToolset,
    BuiltinToolConfig,
    CustomTool,
    EverySource,
    McpServer,
    McpToolConfig,
    McpToolset,
    PermissionPolicy,
    SandboxToolConfig,
    SomeSources,
    Tool,
    ToolReference,
    ToolsetDefaults,
    UrlSource,
    UrlSources,
    UserLocation,
    WebFetchConfig,
    WebSearchConfig,
)
from efferent.gateway.validation import Params, not_valid

MCP_TOOL_CONFIGS_MAX: Final = 1_000
LOCATION_LENGTH_MAX: Final = 255


class PolicyParams(Params):
    """Who decides whether a call may run."""

    type: Literal["always_allow", "always_ask", "auto"]


class DefaultsParams(Params):
    """What holds for the tools of a toolset that have no entry of their own."""

    enabled: bool | None = None
    permission_policy: PolicyParams | None = None

    def resolved(self, policy: Literal["always_allow", "always_ask"]) -> ToolsetDefaults:
        """The same with everything filled in."""
        return ToolsetDefaults(
            enabled=True if self.enabled is None else self.enabled,
            permission_policy=_policy(self.permission_policy) or PermissionPolicy(type=policy),
        )


class ToolEntryParams(Params):
    """What every entry of ``configs`` may say."""

    enabled: bool | None = None
    permission_policy: PolicyParams | None = None

    def inherited(self, defaults: ToolsetDefaults) -> dict[str, Any]:
        """Its settings, those of the toolset where it has none."""
        return {
            "enabled": defaults.enabled if self.enabled is None else self.enabled,
            "permission_policy": _policy(self.permission_policy) or defaults.permission_policy,
        }


class SandboxToolParams(ToolEntryParams):
    """A tool of the sandbox."""

    name: Literal["bash", "edit", "read", "write", "glob", "grep"]
    type: Literal["bash", "edit", "read", "write", "glob", "grep"] | None = None

    @field_validator("type")
    @classmethod
    def _is_its_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name", value)
        if value not in (None, name):
            raise ValueError(not_valid(value, (str(name),)))
        return value


class UserLocationParams(Params):
    """Where search results should be close to."""

    type: Literal["approximate"]
    city: Annotated[str, Field(max_length=LOCATION_LENGTH_MAX)] | None = None
    region: Annotated[str, Field(max_length=LOCATION_LENGTH_MAX)] | None = None
    country: Annotated[str, Field(max_length=LOCATION_LENGTH_MAX)] | None = None
    timezone: Annotated[str, Field(max_length=LOCATION_LENGTH_MAX)] | None = None


class WebSearchParams(ToolEntryParams):
    """web_search."""

    name: Literal["web_search"]
    type: Literal["web_search"] | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: UserLocationParams | None = None


class ToolReferenceParams(Params):
    """A tool named by its name."""

    type: Literal["tool_reference"]
    name: str


class EverySourceParams(Params):
    """All or nothing, as an object."""

    type: Literal["all", "none"]


class SomeSourcesParams(Params):
    """Results of these tools only, or of all but these."""

    type: Literal["only", "except"]
    tools: list[ToolReferenceParams]


def _shape_of_source(value: Any) -> str:
    if isinstance(value, str):
        return "word"
    kind = value.get("type") if isinstance(value, dict) else None
    return "some" if kind in ("only", "except") else "every"


_Word = Annotated[Literal["all", "none"], Tag("word")]
_Every = Annotated[EverySourceParams, Tag("every")]
_Some = Annotated[SomeSourcesParams, Tag("some")]
EverySourceField = Annotated[_Word | _Every, Discriminator(lambda v: "word" if isinstance(v, str) else "every")]
SourceField = Annotated[_Word | _Every | _Some, Discriminator(_shape_of_source)]


class UrlSourcesParams(Params):
    """Which shown URLs may be fetched."""

    user_input: EverySourceField | None = None
    client_tool_results: SourceField | None = None
    server_tool_results: SourceField | None = None

    def resolved(self) -> UrlSources:
        """The same with words as objects."""
        user = None if self.user_input is None else _every(self.user_input)
        return UrlSources(
            user_input=user,
            client_tool_results=_source(self.client_tool_results),
            server_tool_results=_source(self.server_tool_results),
        )


class WebFetchParams(ToolEntryParams):
    """web_fetch."""

    name: Literal["web_fetch"]
    type: Literal["web_fetch"] | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    max_content_tokens: Annotated[int, Field(ge=1)] | None = None
    url_sources: UrlSourcesParams | None = None


BuiltinParams = Annotated[SandboxToolParams | WebSearchParams | WebFetchParams, Field(discriminator="name")]


class AgentToolsetParams(Params):
    """The built-in tools."""

    type: Literal["agent_toolset_20260401"]
    default_config: DefaultsParams | None = None
    configs: list[BuiltinParams] | None = None


class McpToolParams(ToolEntryParams):
    """One tool of an MCP server."""

    name: Annotated[str, Field(min_length=1, max_length=128)]


class McpToolsetParams(Params):
    """The tools of one MCP server."""

    type: Literal["mcp_toolset"]
    mcp_server_name: Annotated[str, Field(min_length=1, max_length=MCP_NAME_LENGTH_MAX)]
    default_config: DefaultsParams | None = None
    configs: Annotated[list[McpToolParams], Field(max_length=MCP_TOOL_CONFIGS_MAX)] | None = None


class CustomToolParams(Params):
    """A tool that the API client runs."""

    type: Literal["custom"]
    name: str
    description: str
    input_schema: dict[str, JsonValue]


ToolParams = Annotated[AgentToolsetParams | McpToolsetParams | CustomToolParams, Field(discriminator="type")]


class McpServerParams(Params):
    """An MCP server."""

    type: Literal["url"]
    name: Annotated[str, Field(min_length=1, max_length=MCP_NAME_LENGTH_MAX)]
    url: Annotated[str, Field(min_length=1, max_length=MCP_URL_LENGTH_MAX)]


def resolve_tools(params: Sequence[ToolParams] | None) -> tuple[Tool, ...]:
    """Tools as they are stored; null and the empty list are the same."""
    return tuple(_tool(tool) for tool in params or ())


def resolve_servers(params: Sequence[McpServerParams] | None) -> tuple[McpServer, ...]:
    """MCP servers as they are stored; null and the empty list are the same."""
    return tuple(McpServer(name=server.name, url=server.url) for server in params or ())


def _tool(params: AgentToolsetParams | McpToolsetParams | CustomToolParams) -> Tool:
    match params:
        case AgentToolsetParams():
            defaults = (params.default_config or DefaultsParams()).resolved("always_allow")
            entries = tuple(_builtin(config, defaults) for config in params.configs or ())
            return AgentToolset(configs=entries, default_config=defaults)
        case McpToolsetParams():
            defaults = (params.default_config or DefaultsParams()).resolved("always_ask")
            tools = tuple(
                McpToolConfig(name=config.name, **config.inherited(defaults)) for config in params.configs or ()
            )
            return McpToolset(mcp_server_name=params.mcp_server_name, configs=tools, default_config=defaults)
        case CustomToolParams():
            return CustomTool(name=params.name, description=params.description, input_schema=params.input_schema)


def _builtin(
    params: SandboxToolParams | WebSearchParams | WebFetchParams, defaults: ToolsetDefaults
) -> BuiltinToolConfig:
    inherited = params.inherited(defaults)
    match params:
        case SandboxToolParams():
            return SandboxToolConfig(type=params.name, name=params.name, **inherited)
        case WebSearchParams(user_location=location):
            return WebSearchConfig(
                **inherited,
                allowed_domains=_domains(params.allowed_domains),
                blocked_domains=_domains(params.blocked_domains),
                user_location=UserLocation(**location.model_dump()) if location is not None else None,
            )
        case WebFetchParams(url_sources=sources):
            return WebFetchConfig(
                **inherited,
                allowed_domains=_domains(params.allowed_domains),
                blocked_domains=_domains(params.blocked_domains),
                max_content_tokens=params.max_content_tokens,
                url_sources=sources.resolved() if sources is not None else None,
            )


def _domains(domains: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(domains) if domains is not None else None


def _policy(params: PolicyParams | None) -> PermissionPolicy | None:
    return PermissionPolicy(type=params.type) if params is not None else None


def _every(params: Literal["all", "none"] | EverySourceParams) -> EverySource:
    return EverySource(type=params if isinstance(params, str) else params.type)


def _source(params: Literal["all", "none"] | EverySourceParams | SomeSourcesParams | None) -> UrlSource | None:
    match params:
        case None:
            return None
        case SomeSourcesParams():
            return SomeSources(type=params.type, tools=tuple(ToolReference(name=tool.name) for tool in params.tools))
        case _:
            return _every(params)
