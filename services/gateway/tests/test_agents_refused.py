"""What an agent may not be: each rule with the message that names the place, limits at the number and one past it."""

from typing import Any

import pytest

from services.gateway.tests.gateway_rig import Served

PARSE = "Failed to parse request: "
BASE: dict[str, Any] = {"name": "helper", "model": "claude-opus-4-8"}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
CUSTOM: dict[str, Any] = {"type": "custom", "name": "ask", "description": "Asks.", "input_schema": SCHEMA}
TOOLSET = "agent_toolset_20260401"
PLACE = f"tools.0.{TOOLSET}.configs.0"


def toolset(*configs: dict[str, Any]) -> dict[str, Any]:
    """The built-in tools with these entries."""
    return {"type": TOOLSET, "configs": list(configs)}


def server(name: str, url: str = "https://mcp.example.com") -> dict[str, Any]:
    """An MCP server."""
    return {"type": "url", "name": name, "url": url}


def mcp(name: str, *configs: dict[str, Any]) -> dict[str, Any]:
    """The toolset of an MCP server."""
    return {"type": "mcp_toolset", "mcp_server_name": name, "configs": list(configs)}


def search(**fields: Any) -> dict[str, Any]:
    """Fields with web_search as the only entry."""
    return {"tools": [toolset({"name": "web_search", **fields})]}


def fetch(**fields: Any) -> dict[str, Any]:
    """Fields with web_fetch as the only entry."""
    return {"tools": [toolset({"name": "web_fetch", **fields})]}


def custom(**fields: Any) -> dict[str, Any]:
    """Fields with one custom tool."""
    return {"tools": [CUSTOM | fields]}


BUILTIN = "bash, edit, read, write, glob, grep, web_search, web_fetch"
POLICIES = "always_allow, always_ask, auto"
LEVELS = "low, medium, high, xhigh, max"

REFUSED: list[tuple[dict[str, Any], str]] = [
    # names, texts, metadata
    ({"name": None}, f"{PARSE}name: must be a string"),
    ({"name": ""}, f"{PARSE}name: must be at least 1 character long"),
    ({"name": "n" * 257}, f"{PARSE}name: must be at most 256 characters long"),
    ({"description": "d" * 2_049}, f"{PARSE}description: must be at most 2048 characters long"),
    ({"system": "s" * 100_001}, f"{PARSE}system: must be at most 100000 characters long"),
    ({"system": 7}, f"{PARSE}system: must be a string"),
    ({"nmae": "x"}, f"{PARSE}nmae: unknown field"),
    ({"metadata": {str(n): "v" for n in range(17)}}, "metadata: at most 16 pairs are allowed"),
    ({"metadata": {"": "v"}}, "metadata: keys must be 1 to 64 characters long"),
    ({"metadata": {"k" * 65: "v"}}, "metadata: keys must be 1 to 64 characters long"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k: must be at most 512 characters long"),
    ({"metadata": {"k": 1}}, f"{PARSE}metadata.k: must be a string"),
    ({"metadata": {"k": None}}, f"{PARSE}metadata.k: must be a string"),
    ({"metadata": []}, f"{PARSE}metadata: must be an object"),
    ({"multiagent": {"type": "coordinator"}}, f"{PARSE}multiagent: not available in this release"),
    ({"multiagent": {}}, f"{PARSE}multiagent: not available in this release"),
    # model
    ({"model": None}, f"{PARSE}model: must be an object"),
    ({"model": 5}, f"{PARSE}model: must be an object"),
    ({"model": ""}, f"{PARSE}model: must be at least 1 character long"),
    ({"model": {}}, f"{PARSE}model.id: field is required"),
    ({"model": {"id": "claude-opus-4-8", "size": 1}}, f"{PARSE}model.size: unknown field"),
    (
        {"model": {"id": "claude-opus-4-8", "effort": "huge"}},
        f'{PARSE}model.effort: "huge" is not a valid value; expected one of {LEVELS}',
    ),
    (
        {"model": {"id": "claude-opus-4-8", "effort": {"type": "huge"}}},
        f'{PARSE}model.effort.type: "huge" is not a valid value; expected one of {LEVELS}',
    ),
    (
        {"model": {"id": "claude-opus-4-5", "effort": "max"}},
        'model.effort: model "claude-opus-4-5" does not support "max"; it takes: low, medium, high',
    ),
    (
        {"model": {"id": "claude-haiku-4-5", "effort": "low"}},
        'model.effort: model "claude-haiku-4-5" does not support "low"; it takes: none',
    ),
    (
        {"model": {"id": "claude-sonnet-5", "speed": "fast"}},
        'model.speed: model "claude-sonnet-5" does not support "fast"',
    ),
    (
        {"model": {"id": "claude-sonnet-5", "speed": "slow"}},
        f'{PARSE}model.speed: "slow" is not a valid value; expected one of standard, fast',
    ),
    (
        {"model": {"id": "claude-sonnet-5", "inference_geo": "mars"}},
        f'{PARSE}model.inference_geo: "mars" is not a valid value; expected one of us, global',
    ),
    # identity
    ({"execution_identity": {"type": "aws_role"}}, f"{PARSE}execution_identity.role_arn: field is required"),
    (
        {"execution_identity": {"type": "aws_role", "role_arn": "a" * 2_049}},
        f"{PARSE}execution_identity.role_arn: must be at most 2048 characters long",
    ),
    (
        {"execution_identity": {"type": "root"}},
        f'{PARSE}execution_identity.type: "root" is not a valid value; expected one of service_account, aws_role',
    ),
    # tools
    ({"tools": {}}, f"{PARSE}tools: must be a list"),
    ({"tools": [{}]}, f"{PARSE}tools[0].type: field is required"),
    (
        {"tools": [{"type": "bash"}]},
        f'{PARSE}tools[0].type: "bash" is not a valid value; expected one of {TOOLSET}, mcp_toolset, custom',
    ),
    (
        {"tools": [toolset({"name": "find"})]},
        f'{PARSE}tools[0].configs[0].name: "find" is not a valid value; expected one of {BUILTIN}',
    ),
    ({"tools": [toolset({"enabled": True})]}, f"{PARSE}tools[0].configs[0].name: field is required"),
    (
        {"tools": [toolset({"name": "bash", "type": "edit"})]},
        f'{PARSE}tools[0].configs[0].type: "edit" is not a valid value; expected one of bash',
    ),
    (
        {"tools": [toolset({"type": "edit", "name": "bash"})]},
        f'{PARSE}tools[0].configs[0].type: "edit" is not a valid value; expected one of bash',
    ),
    (
        {"tools": [CUSTOM, toolset({"name": "bash"}, {"name": "read", "permission_policy": {"type": "never_allow"}})]},
        f'{PARSE}tools[1].configs[1].permission_policy.type: "never_allow" is not a valid value; '
        f"expected one of {POLICIES}",
    ),
    (
        {"tools": [{"type": TOOLSET, "default_config": {"permission_policy": {"type": "deny"}}}]},
        f'{PARSE}tools[0].default_config.permission_policy.type: "deny" is not a valid value; '
        f"expected one of {POLICIES}",
    ),
    (
        {"tools": [toolset({"name": "bash", "enabled": "yes"})]},
        f"{PARSE}tools[0].configs[0].enabled: must be a boolean",
    ),
    (
        {"tools": [toolset({"name": "bash", "allowed_domains": ["example.com"]})]},
        f"{PARSE}tools[0].configs[0].allowed_domains: unknown field",
    ),
    (
        {"tools": [toolset({"name": "bash"}, {"name": "bash"})]},
        f'tools.0.{TOOLSET}.configs.1: duplicate entry for tool "bash"',
    ),
    ({"tools": [toolset(), CUSTOM, toolset()]}, f"tools.2: only one {TOOLSET} is allowed"),
    (
        {"tools": [CUSTOM | {"name": f"t{n}"} for n in range(257)]},
        "tools: at most 256 tools are allowed",
    ),
    # MCP
    (
        {"tools": [mcp("x")]},
        'tools.0.mcp_toolset: references server "x" which is not defined in mcp_servers',
    ),
    (
        {"mcp_servers": [server("x"), server("y")], "tools": [mcp("x")]},
        "mcp_servers [y] declared but no mcp_toolset in tools references them",
    ),
    (
        {"mcp_servers": [server("x")], "tools": [mcp("x"), mcp("x")]},
        'tools.1.mcp_toolset: duplicate entry for server "x"; each MCP server may have at most one mcp_toolset',
    ),
    (
        {"mcp_servers": [server("x"), server("x")], "tools": [mcp("x")]},
        'mcp_servers.1.name: duplicate entry for server "x"',
    ),
    (
        {"mcp_servers": [server(f"s{n}") for n in range(21)], "tools": [mcp(f"s{n}") for n in range(21)]},
        "mcp_servers: at most 20 servers are allowed",
    ),
    ({"mcp_servers": [server("")]}, f"{PARSE}mcp_servers[0].name: must be at least 1 character long"),
    ({"mcp_servers": [server("n" * 256)]}, f"{PARSE}mcp_servers[0].name: must be at most 255 characters long"),
    (
        {"mcp_servers": [server("x", "https://e.com/" + "p" * 2_035)]},
        f"{PARSE}mcp_servers[0].url: must be at most 2048 characters long",
    ),
    ({"mcp_servers": [server("x", "ftp://e.com")]}, "mcp_servers.0.url: must be an http:// or https:// address"),
    (
        {"mcp_servers": [{"type": "stdio", "name": "x"}]},
        f'{PARSE}mcp_servers[0].type: "stdio" is not a valid value; expected one of url',
    ),
    (
        {"mcp_servers": [server("x")], "tools": [mcp("x", {"name": "n" * 129})]},
        f"{PARSE}tools[0].configs[0].name: must be at most 128 characters long",
    ),
    (
        {"mcp_servers": [server("x")], "tools": [mcp("x", {"name": "a", "type": "a"})]},
        f"{PARSE}tools[0].configs[0].type: unknown field",
    ),
    (
        {"mcp_servers": [server("x")], "tools": [mcp("x", {"name": "a"}, {"name": "a"})]},
        'tools.0.mcp_toolset.configs.1: duplicate entry for tool "a"',
    ),
    # web tools
    (
        search(allowed_domains=["a.com"], blocked_domains=["b.com"]),
        f"{PLACE}: Only one of allowed_domains or blocked_domains may be set.",
    ),
    (
        search(allowed_domains=[]),
        f"{PLACE}.allowed_domains: Empty list of domains is ambiguous. Provide at least one domain or null.",
    ),
    (
        search(blocked_domains=[f"d{n}.com" for n in range(65)]),
        f"{PLACE}.blocked_domains: at most 64 domains are allowed",
    ),
    (
        search(allowed_domains=["ok.com", "x" * 252 + ".com"]),
        f"{PLACE}.allowed_domains.1: must be 1 to 255 characters long",
    ),
    (
        search(allowed_domains=["a.com", "A.com/"]),
        f"{PLACE}.allowed_domains.1: the same domain as allowed_domains.0",
    ),
    (fetch(allowed_domains=["a.com/path"]), f"{PLACE}.allowed_domains.0: must be a hostname without a path"),
    (
        fetch(max_content_tokens=0),
        f"{PARSE}tools[0].configs[0].max_content_tokens: input should be greater than or equal to 1",
    ),
    (
        fetch(url_sources={"user_input": "none", "client_tool_results": "none", "server_tool_results": "none"}),
        f'{PLACE}.url_sources: not every source may be "none"',
    ),
    (
        fetch(url_sources={"user_input": "some"}),
        f'{PARSE}tools[0].configs[0].url_sources.user_input: "some" is not a valid value; expected one of all, none',
    ),
    (
        fetch(url_sources={"server_tool_results": {"type": "only", "tools": []}}),
        f"{PLACE}.url_sources.server_tool_results.tools: must name 1 to 128 tools",
    ),
    (
        fetch(
            url_sources={"client_tool_results": {"type": "only", "tools": [{"type": "tool_reference", "name": "ask"}]}}
        ),
        f'{PLACE}.url_sources.client_tool_results.tools.0: "ask" is not a custom tool of this agent',
    ),
    (
        fetch(
            url_sources={
                "server_tool_results": {"type": "except", "tools": [{"type": "tool_reference", "name": "bash"}]}
            }
        ),
        f'{PLACE}.url_sources.server_tool_results.tools.0: "bash" is not web_fetch or web_search',
    ),
    (
        search(user_location={"type": "exact"}),
        f'{PARSE}tools[0].configs[0].user_location.type: "exact" is not a valid value; expected one of approximate',
    ),
    # custom tools
    (custom(name=""), "tools.0.custom.name: must be 1 to 128 letters, digits, underscores or hyphens"),
    (custom(name="n" * 129), "tools.0.custom.name: must be 1 to 128 letters, digits, underscores or hyphens"),
    (custom(name="a b"), "tools.0.custom.name: must be 1 to 128 letters, digits, underscores or hyphens"),
    (custom(name="bash"), 'tools.0.custom.name: "bash" is the name of a built-in tool'),
    (custom(name="mcp__x"), 'tools.0.custom.name: must not start with "mcp__"'),
    (custom(description=""), "tools.0.custom.description: must not be empty"),
    ({"tools": [CUSTOM, CUSTOM]}, 'tools.1.custom.name: duplicate custom tool name "ask"'),
    (custom(input_schema={}), 'tools.0.custom.input_schema.type: must be "object"'),
    (custom(input_schema={"type": "array"}), 'tools.0.custom.input_schema.type: must be "object"'),
    (
        custom(input_schema=SCHEMA | {"anyOf": []}),
        "tools.0.custom.input_schema.anyOf: not supported at the top level",
    ),
    (
        custom(input_schema={"type": "object", "properties": {"a": {"items": [{"$ref": "#/x"}]}}}),
        "tools.0.custom.input_schema: $ref is not supported",
    ),
    (
        custom(input_schema={"type": "object", "properties": {"a b": {}}}),
        "tools.0.custom.input_schema.properties: property names must match [A-Za-z0-9_.-]{1,64}",
    ),
    (
        custom(input_schema={"type": "object", "properties": []}),
        "tools.0.custom.input_schema.properties: must be an object",
    ),
    (
        custom(input_schema={"type": "object", "required": "a"}),
        "tools.0.custom.input_schema.required: must be a list of strings",
    ),
]


@pytest.mark.parametrize("domain", [
    "https://a.com", "a.com:80", "*.a.com", "1.2.3.4", "a b.com", "com", "co.uk", "localhost", "x.localhost",
    "x.local", "x.internal", "x.localdomain", "x.invalid", "bücher.de", "-a.com", "a..com", "",
])  # fmt: skip
async def test_a_domain_that_is_no_public_site_is_refused_with_its_index(served: Served, domain: str) -> None:
    answer = await served.call("POST", "/v1/agents", BASE | search(allowed_domains=["ok.com", domain]))
    assert answer.error[:2] == (400, "invalid_request_error")
    assert answer.error[2].startswith(f"{PLACE}.allowed_domains.1: must ")


async def test_each_wrong_agent_is_refused_with_the_place(served: Served) -> None:
    for fields, message in REFUSED:
        answer = await served.call("POST", "/v1/agents", BASE | fields)
        assert answer.error == (400, "invalid_request_error", message)


async def test_name_and_model_are_required(served: Served) -> None:
    for missing in ("name", "model"):
        body = {name: value for name, value in BASE.items() if name != missing}
        text = f"{PARSE}{missing}: field is required"
        assert (await served.call("POST", "/v1/agents", body)).error == (400, "invalid_request_error", text)


async def test_a_model_without_a_provider_is_refused_with_the_patterns(served: Served) -> None:
    status, type_, message = (await served.call("POST", "/v1/agents", BASE | {"model": "acme-9"})).error
    assert (status, type_) == (400, "invalid_request_error")
    assert message.startswith("model: no provider for model 'acme-9'")
    assert "claude-*" in message
    assert "offline/*" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "n" * 256},
        {"description": "d" * 2_048},
        {"system": "ü" * 100_000},
        {"metadata": {f"{n:02}" + "k" * 62: "v" * 512 for n in range(16)}},
        {"model": {"id": "claude-haiku-4-5", "effort": "high"}},
        {"model": {"id": "gpt-5", "effort": "low"}},
        {"model": "ollama/llama3"},
        {"skills": [], "multiagent": None, "tools": None, "mcp_servers": None, "execution_identity": None},
        {"tools": [CUSTOM | {"name": f"t{n}"} for n in range(256)]},
        {"mcp_servers": [server(f"s{n}") for n in range(20)], "tools": [mcp(f"s{n}") for n in range(20)]},
        {"mcp_servers": [server("n" * 255, "https://e.com/" + "p" * 2_034)], "tools": [mcp("n" * 255)]},
        {"mcp_servers": [server("x")], "tools": [mcp("x", {"name": "n" * 128, "permission_policy": None})]},
        search(allowed_domains=[f"d{n}.com/path" for n in range(64)]),
        search(allowed_domains=[f"{'x' * 60}.{'y' * 60}.{'z' * 60}.{'w' * 60}.com/{'p' * 6}"]),
        search(user_location={"type": "approximate", "city": "Bern", "country": None}),
        fetch(url_sources={"user_input": {"type": "all"}, "client_tool_results": "none", "server_tool_results": None}),
        custom(name="n" * 128),
        custom(input_schema={"type": "object", "properties": {"p" * 64: {"oneOf": []}}, "additionalProperties": False}),
        {"tools": [{"type": TOOLSET, "configs": None, "default_config": None}]},
        {"tools": [toolset({"name": "web_fetch", "type": "web_fetch", "enabled": None})]},
        {"tools": [toolset({"name": "bash", "type": "bash"}, {"name": "edit", "type": None})]},
    ],
)  # fmt: skip
async def test_what_is_just_within_the_rules_is_accepted(served: Served, fields: dict[str, Any]) -> None:
    answer = await served.call("POST", "/v1/agents", BASE | fields)
    assert answer.status == 200, answer.body


async def test_url_sources_may_name_128_custom_tools_and_not_129(served: Served) -> None:
    tools = [CUSTOM | {"name": f"t{n}"} for n in range(129)]

    def body(count: int) -> dict[str, Any]:
        names = [{"type": "tool_reference", "name": f"t{n}"} for n in range(count)]
        sources = {"client_tool_results": {"type": "except", "tools": names}}
        return BASE | {"tools": [toolset({"name": "web_fetch", "url_sources": sources}), *tools]}

    assert (await served.call("POST", "/v1/agents", body(128))).status == 200
    text = f"{PLACE}.url_sources.client_tool_results.tools: must name 1 to 128 tools"
    assert (await served.call("POST", "/v1/agents", body(129))).error == (400, "invalid_request_error", text)


async def test_an_agent_larger_than_4_mib_is_refused(served: Served) -> None:
    schema = SCHEMA | {"description": "x" * 2_000_000}
    big = [CUSTOM | {"name": f"t{n}", "input_schema": schema} for n in range(3)]
    assert (await served.call("POST", "/v1/agents", BASE | {"tools": big[:2]})).status == 200
    answer = await served.call("POST", "/v1/agents", BASE | {"tools": big})
    assert answer.error == (413, "request_too_large", "The agent is larger than 4194304 bytes.")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"name": None}, "name: cannot be cleared"),
        ({"model": None}, "model: cannot be cleared (agent_model_required)"),
        ({"version": 0}, f"{PARSE}version: input should be greater than or equal to 1"),
        ({"version": "1"}, f"{PARSE}version: must be an integer"),
        ({"metadata": {"k": 1}}, f"{PARSE}metadata.k: must be a string"),
        ({"metadata": {f"k{n}": "v" for n in range(16)}}, "metadata: at most 16 pairs are allowed"),
        ({"tools": []}, "mcp_servers [docs] declared but no mcp_toolset in tools references them"),
        (
            {"mcp_servers": []},
            'tools.0.mcp_toolset: references server "docs" which is not defined in mcp_servers',
        ),
        ({"skills": [1]}, f"{PARSE}skills[0]: must be an object"),
    ],
)
async def test_a_wrong_update_is_refused_against_the_agent_that_it_would_make(
    served: Served, patch: dict[str, Any], message: str
) -> None:
    fields = {"mcp_servers": [server("docs")], "tools": [mcp("docs")], "metadata": {"first": "1"}}
    agent = (await served.call("POST", "/v1/agents", BASE | fields)).body
    path = f"/v1/agents/{agent['id']}"
    assert (await served.call("POST", path, patch)).error == (400, "invalid_request_error", message)
    assert (await served.call("GET", path)).body == agent
    assert (await served.call("POST", path, {"tools": None, "mcp_servers": None})).body["version"] == 2
