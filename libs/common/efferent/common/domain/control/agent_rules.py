"""What must hold for an agent's tools and MCP servers together. Paths in messages are dotted, like the API's."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import JsonValue

from efferent.common.domain.control.web_domains import check_domains
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.agent import (
    AgentToolset,
    CustomTool,
    EverySource,
    McpServer,
    McpToolset,
    SomeSources,
    Tool,
    UrlSource,
    WebFetchConfig,
    WebSearchConfig,
)

TOOLS_MAX: Final = 256
MCP_SERVERS_MAX: Final = 20
MCP_NAME_LENGTH_MAX: Final = 255
MCP_URL_LENGTH_MAX: Final = 2_048
URL_SOURCE_TOOLS_MAX: Final = 128
SCHEMA_DEPTH_MAX: Final = 64

BUILTIN_TOOLS: Final = ("bash", "edit", "glob", "grep", "read", "web_fetch", "web_search", "write")
WEB_TOOLS: Final = ("web_fetch", "web_search")

_CUSTOM_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PROPERTY_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_COMBINATIONS: Final = ("oneOf", "anyOf", "allOf")
_MCP_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)


def check_tools(tools: Sequence[Tool], servers: Sequence[McpServer]) -> None:
    """Raise InvalidRequest, naming the place, when tools and servers do not make a usable agent."""
    if len(tools) > TOOLS_MAX:
        raise InvalidRequest(f"tools: at most {TOOLS_MAX} tools are allowed")
    _check_servers(servers)
    custom_names = [tool.name for tool in tools if isinstance(tool, CustomTool)]
    seen_toolset = False
    for index, tool in enumerate(tools):
        match tool:
            case AgentToolset():
                if seen_toolset:
                    raise InvalidRequest(f"tools.{index}: only one agent_toolset_20260401 is allowed")
                seen_toolset = True
                _check_toolset(f"tools.{index}.agent_toolset_20260401", tool, custom_names)
            case McpToolset():
                _check_mcp_toolset(f"tools.{index}.mcp_toolset", tool)
            case CustomTool():
                _check_custom(f"tools.{index}.custom", tool)
    _check_unique_custom(tools)
    _check_servers_used(tools, servers)


def _check_servers(servers: Sequence[McpServer]) -> None:
    if len(servers) > MCP_SERVERS_MAX:
        raise InvalidRequest(f"mcp_servers: at most {MCP_SERVERS_MAX} servers are allowed")
    seen: set[str] = set()
    for index, server in enumerate(servers):
        if server.name in seen:
            raise InvalidRequest(f'mcp_servers.{index}.name: duplicate entry for server "{server.name}"')
        seen.add(server.name)
        if _MCP_URL.fullmatch(server.url) is None:
            raise InvalidRequest(f"mcp_servers.{index}.url: must be an http:// or https:// address")


def _check_servers_used(tools: Sequence[Tool], servers: Sequence[McpServer]) -> None:
    declared = {server.name for server in servers}
    used: set[str] = set()
    for index, tool in enumerate(tools):
        if not isinstance(tool, McpToolset):
            continue
        name = tool.mcp_server_name
        place = f"tools.{index}.mcp_toolset"
        if name not in declared:
            raise InvalidRequest(f'{place}: references server "{name}" which is not defined in mcp_servers')
        if name in used:
            raise InvalidRequest(
                f'{place}: duplicate entry for server "{name}"; each MCP server may have at most one mcp_toolset'
            )
        used.add(name)
    if unused := [server.name for server in servers if server.name not in used]:
        raise InvalidRequest(f"mcp_servers [{', '.join(unused)}] declared but no mcp_toolset in tools references them")


def _check_toolset(place: str, toolset: AgentToolset, custom_names: Sequence[str]) -> None:
    _check_distinct(place, [config.name for config in toolset.configs])
    for index, config in enumerate(toolset.configs):
        if isinstance(config, WebSearchConfig | WebFetchConfig):
            _check_web(f"{place}.configs.{index}", config)
        if isinstance(config, WebFetchConfig):
            _check_url_sources(f"{place}.configs.{index}", config, custom_names)


def _check_mcp_toolset(place: str, toolset: McpToolset) -> None:
    _check_distinct(place, [config.name for config in toolset.configs])


def _check_distinct(place: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise InvalidRequest(f'{place}.configs.{index}: duplicate entry for tool "{name}"')
        seen.add(name)


def _check_web(place: str, config: WebSearchConfig | WebFetchConfig) -> None:
    if config.allowed_domains is not None and config.blocked_domains is not None:
        raise InvalidRequest(f"{place}: Only one of allowed_domains or blocked_domains may be set.")
    path_allowed = isinstance(config, WebSearchConfig)
    for field, domains in (("allowed_domains", config.allowed_domains), ("blocked_domains", config.blocked_domains)):
        if domains is not None:
            check_domains(f"{place}.{field}", domains, path_allowed=path_allowed)


def _check_url_sources(place: str, config: WebFetchConfig, custom_names: Sequence[str]) -> None:
    sources = config.url_sources
    if sources is None:
        return
    every = (sources.user_input, sources.client_tool_results, sources.server_tool_results)
    if all(isinstance(source, EverySource) and source.type == "none" for source in every):
        raise InvalidRequest(f'{place}.url_sources: not every source may be "none"')
    client, server = f"{place}.url_sources.client_tool_results", f"{place}.url_sources.server_tool_results"
    _check_source(client, sources.client_tool_results, custom_names, "a custom tool of this agent")
    _check_source(server, sources.server_tool_results, WEB_TOOLS, "web_fetch or web_search")


def _check_source(place: str, source: UrlSource | None, allowed: Sequence[str], expected: str) -> None:
    if not isinstance(source, SomeSources):
        return
    if not 1 <= len(source.tools) <= URL_SOURCE_TOOLS_MAX:
        raise InvalidRequest(f"{place}.tools: must name 1 to {URL_SOURCE_TOOLS_MAX} tools")
    seen: set[str] = set()
    for index, reference in enumerate(source.tools):
        if reference.name in seen:
            raise InvalidRequest(f'{place}.tools.{index}: duplicate entry for tool "{reference.name}"')
        if reference.name not in allowed:
            raise InvalidRequest(f'{place}.tools.{index}: "{reference.name}" is not {expected}')
        seen.add(reference.name)


def _check_unique_custom(tools: Sequence[Tool]) -> None:
    places = [(index, tool.name) for index, tool in enumerate(tools) if isinstance(tool, CustomTool)]
    repeated = {name for name, count in Counter(name for _, name in places).items() if count > 1}
    if repeated:
        index, name = [place for place in places if place[1] in repeated][1]
        raise InvalidRequest(f'tools.{index}.custom.name: duplicate custom tool name "{name}"')


def _check_custom(place: str, tool: CustomTool) -> None:
    if _CUSTOM_NAME.fullmatch(tool.name) is None:
        raise InvalidRequest(f"{place}.name: must be 1 to 128 letters, digits, underscores or hyphens")
    if tool.name in BUILTIN_TOOLS:
        raise InvalidRequest(f'{place}.name: "{tool.name}" is the name of a built-in tool')
    if tool.name.startswith("mcp__"):
        raise InvalidRequest(f'{place}.name: must not start with "mcp__"')
    if not tool.description:
        raise InvalidRequest(f"{place}.description: must not be empty")
    _check_schema(f"{place}.input_schema", tool.input_schema)


def _check_schema(place: str, schema: dict[str, JsonValue]) -> None:
    if schema.get("type") != "object":
        raise InvalidRequest(f'{place}.type: must be "object"')
    for keyword in _COMBINATIONS:
        if keyword in schema:
            raise InvalidRequest(f"{place}.{keyword}: not supported at the top level")
    properties = schema.get("properties")
    if not isinstance(properties, dict | None):
        raise InvalidRequest(f"{place}.properties: must be an object")
    for name in properties or ():
        if _PROPERTY_NAME.fullmatch(name) is None:
            raise InvalidRequest(f"{place}.properties: property names must match {_PROPERTY_NAME.pattern}")
    required = schema.get("required")
    if required is not None and not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        raise InvalidRequest(f"{place}.required: must be a list of strings")
    for keyword in _keys(schema, SCHEMA_DEPTH_MAX):
        if keyword in _REFERENCES:
            raise InvalidRequest(f"{place}: {keyword} is not supported")


def _keys(node: JsonValue, depth: int) -> Iterable[str]:
    if depth == 0:
        return
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _keys(value, depth - 1)
    elif isinstance(node, list):
        for value in node:
            yield from _keys(value, depth - 1)
