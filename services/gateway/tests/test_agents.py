"""``/v1/agents`` with the official client and without: versions, conflicts, archive, lists."""

import asyncio
from typing import Any

import anthropic
import orjson
import pytest

from efferent.common.domain.ids import WorkspaceId
from services.gateway.tests.gateway_rig import Served

BASE: dict[str, Any] = {"name": "helper", "model": "claude-opus-4-8"}


async def make(served: Served, **fields: Any) -> dict[str, Any]:
    """A new agent."""
    answer = await served.call("POST", "/v1/agents", BASE | fields)
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


async def test_a_new_agent_has_every_field_with_its_default(served: Served) -> None:
    agent = await make(served)
    assert agent.pop("id").startswith("agent_")
    assert agent.pop("created_at") == agent.pop("updated_at")
    assert agent == {
        "type": "agent",
        "version": 1,
        "name": "helper",
        "description": None,
        "system": None,
        "model": {"id": "claude-opus-4-8", "effort": {"type": "high"}, "speed": "standard"},
        "tools": [],
        "mcp_servers": [],
        "skills": [],
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
        "metadata": {},
        "archived_at": None,
    }


async def test_the_official_client_creates_retrieves_updates_lists_and_archives(served: Served) -> None:
    sdk = served.sdk()
    made = await sdk.beta.agents.create(
        name="helper",
        model={"id": "claude-opus-4-8", "effort": "low", "inference_geo": "us"},
        system="Be brief.",
        tools=[{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "enabled": False}]}],
        metadata={"team": "a"},
    )
    assert made.version == 1
    assert await sdk.beta.agents.retrieve(made.id) == made
    changed = await sdk.beta.agents.update(made.id, version=1, description="It helps.")
    assert (changed.version, changed.description, changed.system) == (2, "It helps.", "Be brief.")
    assert await sdk.beta.agents.retrieve(made.id, version=1) == made
    assert [agent.id async for agent in sdk.beta.agents.list()] == [made.id]
    assert [agent.version async for agent in sdk.beta.agents.versions.list(made.id)] == [2, 1]
    archived = await sdk.beta.agents.archive(made.id)
    assert archived.archived_at is not None


async def test_older_clients_with_the_key_header_and_the_beta_query_are_served(served: Served) -> None:
    headers = {"x-api-key": served.key, "anthropic-version": "2023-06-01"}
    answer = await served.call("POST", "/v1/agents?beta=true", BASE, headers=headers)
    assert answer.status == 200


async def test_everything_that_an_agent_can_have_is_echoed_with_defaults_filled_in(served: Served) -> None:
    search = {"name": "web_search", "blocked_domains": ["example.org/private"], "permission_policy": {"type": "auto"}}
    fetch = {"name": "web_fetch", "type": "web_fetch", "url_sources": {"user_input": "none"}, "max_content_tokens": 9}
    agent = await make(
        served,
        model={"id": "claude-opus-4-8", "effort": {"type": "max"}, "speed": "fast", "inference_geo": "global"},
        description="d",
        system="s",
        metadata={"k": "v"},
        execution_identity={"type": "aws_role", "role_arn": "arn:aws:iam::1:role/x"},
        mcp_servers=[{"type": "url", "name": "docs", "url": "https://user:pw@mcp.example.com/sse"}],
        tools=[
            {
                "type": "agent_toolset_20260401",
                "default_config": {"permission_policy": {"type": "always_ask"}},
                "configs": [{"name": "bash", "enabled": False}, search, fetch],
            },
            {"type": "mcp_toolset", "mcp_server_name": "docs", "configs": [{"name": "find", "enabled": False}]},
            {
                "type": "custom",
                "name": "ask_me",
                "description": "Asks.",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "title": "T"},
            },
        ],
    )
    ask = {"type": "always_ask"}
    assert agent["model"] == {
        "id": "claude-opus-4-8",
        "effort": {"type": "max"},
        "speed": "fast",
        "inference_geo": "global",
    }
    assert agent["execution_identity"] == {"type": "aws_role", "role_arn": "arn:aws:iam::1:role/x"}
    assert agent["mcp_servers"] == [{"type": "url", "name": "docs", "url": "https://user:pw@mcp.example.com/sse"}]
    assert agent["tools"] == [
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": True, "permission_policy": ask},
            "configs": [
                {"type": "bash", "name": "bash", "enabled": False, "permission_policy": ask},
                {
                    "type": "web_search",
                    "name": "web_search",
                    "enabled": True,
                    "permission_policy": {"type": "auto"},
                    "allowed_domains": None,
                    "blocked_domains": ["example.org/private"],
                    "user_location": None,
                },
                {
                    "type": "web_fetch",
                    "name": "web_fetch",
                    "enabled": True,
                    "permission_policy": ask,
                    "allowed_domains": None,
                    "blocked_domains": None,
                    "max_content_tokens": 9,
                    "url_sources": {
                        "user_input": {"type": "none"},
                        "client_tool_results": None,
                        "server_tool_results": None,
                    },
                },
            ],
        },
        {
            "type": "mcp_toolset",
            "mcp_server_name": "docs",
            "default_config": {"enabled": True, "permission_policy": ask},
            "configs": [{"name": "find", "enabled": False, "permission_policy": ask}],
        },
        {
            "type": "custom",
            "name": "ask_me",
            "description": "Asks.",
            "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "title": "T"},
        },
    ]
    # What is answered can be sent again and changes nothing.
    echo = {name: agent[name] for name in ("model", "tools", "mcp_servers", "metadata", "execution_identity")}
    again = await served.call("POST", f"/v1/agents/{agent['id']}", echo)
    assert again.body == agent


async def test_an_update_changes_what_it_mentions_and_keeps_the_rest(served: Served) -> None:
    agent = await make(served, system="s", description="d", metadata={"a": "1", "b": "2"})
    patch = {"system": "", "description": None, "metadata": {"a": None, "c": "3"}, "name": "renamed"}
    changed = (await served.call("POST", f"/v1/agents/{agent['id']}", patch)).body
    assert changed["version"] == 2
    assert (changed["system"], changed["description"], changed["name"]) == (None, None, "renamed")
    assert changed["metadata"] == {"b": "2", "c": "3"}
    assert changed["updated_at"] > agent["updated_at"]
    assert changed["created_at"] == agent["created_at"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-8", {"id": "claude-opus-4-8", "effort": {"type": "low"}, "speed": "standard"}),
        ({"id": "claude-opus-4-8"}, {"id": "claude-opus-4-8", "effort": {"type": "low"}, "speed": "standard"}),
        (
            {"id": "claude-opus-4-8", "effort": "xhigh"},
            {"id": "claude-opus-4-8", "effort": {"type": "xhigh"}, "speed": "standard"},
        ),
        ("claude-opus-5-5", {"id": "claude-opus-5-5", "effort": {"type": "medium"}, "speed": "standard"}),
    ],
)
async def test_a_model_is_replaced_as_a_whole_but_the_same_model_keeps_its_effort(
    served: Served, model: object, expected: dict[str, Any]
) -> None:
    agent = await make(served, model={"id": "claude-opus-4-8", "effort": "low", "speed": "fast", "inference_geo": "us"})
    changed = (await served.call("POST", f"/v1/agents/{agent['id']}", {"model": model})).body
    assert changed["model"] == expected


@pytest.mark.parametrize(
    "patch", [{}, {"name": "helper"}, {"metadata": {"absent": None}}, {"tools": []}, {"system": ""}]
)
async def test_an_update_that_changes_nothing_makes_no_version(served: Served, patch: dict[str, Any]) -> None:
    agent = await make(served)
    assert (await served.call("POST", f"/v1/agents/{agent['id']}", patch)).body == agent
    versions = await served.call("GET", f"/v1/agents/{agent['id']}/versions")
    assert [version["version"] for version in versions.body["data"]] == [1]


async def test_a_stale_version_is_a_final_conflict_and_consumes_no_number(served: Served) -> None:
    agent = await make(served)
    path = f"/v1/agents/{agent['id']}"
    assert (await served.call("POST", path, {"name": "two", "version": 1})).body["version"] == 2
    stale = await served.call("POST", path, {"name": "two", "version": 1})
    text = "Concurrent modification detected. Please fetch the latest version and retry."
    assert stale.error == (409, "conflict_error", text)
    assert stale.headers["x-should-retry"] == "false"
    assert (await served.call("POST", path, {"name": "three"})).body["version"] == 3
    with pytest.raises(anthropic.ConflictError):
        await served.sdk(max_retries=2).beta.agents.update(agent["id"], version=1, name="four")


async def test_of_two_updates_at_the_same_version_one_wins(served: Served) -> None:
    agent = await make(served)
    path = f"/v1/agents/{agent['id']}"
    answers = await asyncio.gather(
        *(served.call("POST", path, {"name": f"n{index}", "version": 1}) for index in range(8))
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_updates_at_once_without_a_version_all_happen_one_after_the_other(served: Served) -> None:
    agent = await make(served)
    path = f"/v1/agents/{agent['id']}"
    answers = await asyncio.gather(*(served.call("POST", path, {"metadata": {f"k{index}": "v"}}) for index in range(8)))
    assert sorted(answer.body["version"] for answer in answers) == list(range(2, 10))
    assert len((await served.call("GET", path)).body["metadata"]) == 8


async def test_an_archived_agent_is_read_only_in_every_version(served: Served) -> None:
    agent = await make(served)
    path = f"/v1/agents/{agent['id']}"
    await served.call("POST", path, {"name": "two"})
    archived = (await served.call("POST", f"{path}/archive")).body
    assert archived["archived_at"] is not None
    assert (await served.call("POST", f"{path}/archive", b"")).body == archived
    refused = await served.call("POST", path, {"name": "three"})
    assert refused.error == (400, "invalid_request_error", "Cannot modify archived agent")
    assert (await served.call("GET", path)).body == archived
    old = await served.call("GET", f"{path}?version=1")
    assert (old.body["version"], old.body["archived_at"]) == (1, archived["archived_at"])
    versions = (await served.call("GET", f"{path}/versions")).body["data"]
    assert [version["archived_at"] for version in versions] == [archived["archived_at"]] * 2


async def test_unknown_and_malformed_ids(served: Served) -> None:
    missing = (404, "not_found_error", "Agent not found.")
    malformed = (400, "invalid_request_error", "Invalid agent ID.")
    for method, suffix in (("GET", ""), ("POST", ""), ("POST", "/archive"), ("GET", "/versions")):
        body = {"name": "x"} if (method, suffix) == ("POST", "") else None
        assert (await served.call(method, f"/v1/agents/agent_missing{suffix}", body)).error == missing
        assert (await served.call(method, f"/v1/agents/env_x{suffix}", body)).error == malformed
        assert (await served.call(method, f"/v1/agents/agent_a.b{suffix}", body)).error == malformed


async def test_a_version_that_does_not_exist_is_not_found(served: Served) -> None:
    agent = await make(served)
    missing = await served.call("GET", f"/v1/agents/{agent['id']}?version=2")
    assert missing.error == (404, "not_found_error", "Agent version not found.")
    for version in ("0", "-1", "one", "2147483648"):
        wrong = await served.call("GET", f"/v1/agents/{agent['id']}?version={version}")
        assert wrong.error[:2] == (400, "invalid_request_error")


async def test_another_workspace_sees_nothing(served: Served) -> None:
    agent = await make(served)
    workspace_id, key = await served.new_workspace()
    assert workspace_id != WorkspaceId(served.workspace_id)
    other = {"x-api-key": key}
    path = f"/v1/agents/{agent['id']}"
    missing = (404, "not_found_error", "Agent not found.")
    assert (await served.call("GET", path, headers=other)).error == missing
    assert (await served.call("POST", path, {"name": "mine"}, headers=other)).error == missing
    assert (await served.call("POST", f"{path}/archive", headers=other)).error == missing
    assert (await served.call("GET", f"{path}/versions", headers=other)).error == missing
    assert (await served.call("GET", "/v1/agents", headers=other)).body == {"data": [], "next_page": None}


async def test_lists_are_newest_first_and_show_archived_ones_only_when_asked(served: Served) -> None:
    made = [(await make(served, name=f"a{index}"))["id"] for index in range(3)]
    await served.call("POST", f"/v1/agents/{made[1]}/archive")
    shown = (await served.call("GET", "/v1/agents")).body["data"]
    assert [agent["id"] for agent in shown] == [made[2], made[0]]
    everything = (await served.call("GET", "/v1/agents?include_archived=true")).body["data"]
    assert [agent["id"] for agent in everything] == made[::-1]


async def test_a_list_shows_the_newest_version_and_a_write_that_was_just_answered(served: Served) -> None:
    for round_ in range(10):
        agent = await make(served, name=f"a{round_}")
        await served.call("POST", f"/v1/agents/{agent['id']}", {"name": f"b{round_}"})
        (newest, *_) = (await served.call("GET", "/v1/agents?limit=1")).body["data"]
        assert (newest["id"], newest["name"], newest["version"]) == (agent["id"], f"b{round_}", 2)


async def test_pages_cover_everything_once(served: Served) -> None:
    made = [(await make(served))["id"] for _ in range(7)]
    seen = [agent.id async for agent in served.sdk().beta.agents.list(limit=3)]
    assert seen == made[::-1]
    for _ in range(5):
        await served.call("POST", f"/v1/agents/{made[0]}", {"metadata": {"n": str(_)}})
    versions = [agent.version async for agent in served.sdk().beta.agents.versions.list(made[0], limit=2)]
    assert versions == [6, 5, 4, 3, 2, 1]


async def test_a_new_agent_between_two_pages_moves_nothing(served: Served) -> None:
    made = [(await make(served))["id"] for _ in range(4)]
    first = (await served.call("GET", "/v1/agents?limit=2")).body
    await make(served)
    second = (await served.call("GET", f"/v1/agents?limit=2&page={first['next_page']}")).body
    assert [agent["id"] for agent in first["data"] + second["data"]] == made[::-1]
    assert second["next_page"] is None


async def test_created_at_bounds(served: Served) -> None:
    moments = [(await make(served))["created_at"] for _ in range(3)]

    async def count(**bounds: str) -> int:
        query = "&".join(f"created_at[{bound}]={moment}" for bound, moment in bounds.items())
        return len((await served.call("GET", f"/v1/agents?{query}")).body["data"])

    assert await count(gte=moments[1]) == 2
    assert await count(lte=moments[1]) == 2
    assert await count(gt=moments[1]) == 1
    assert await count(lt=moments[1]) == 1
    assert await count(gte=moments[1], lte=moments[1]) == 1
    assert await count(gte="2020-01-01", lte="2020-01-02T00:00:00%2B02:00") == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: must be between 1 and 100"),
        ("limit=101", "limit: must be between 1 and 100"),
        ("limit=ten", 'limit: "ten" is not a valid integer'),
        ("limit=1&limit=2", "limit: given more than once"),
        ("include_archived=maybe", 'include_archived: "maybe" is not a valid boolean'),
        ("created_at[gte]=yesterday", 'created_at[gte]: "yesterday" is not a valid RFC 3339 date-time'),
        ("page=nonsense", "invalid page cursor"),
        ("page=page_AAAA", "invalid page cursor"),
        ("page=page_%20", "invalid page cursor"),
        ("page=page_" + "A" * 2_000, "invalid page cursor"),
    ],
)
async def test_wrong_list_parameters_are_refused(served: Served, query: str, message: str) -> None:
    assert (await served.call("GET", f"/v1/agents?{query}")).error == (400, "invalid_request_error", message)


async def test_a_limit_of_100_is_the_most(served: Served) -> None:
    assert (await served.call("GET", "/v1/agents?limit=100")).status == 200


async def test_a_cursor_is_bound_to_its_list_and_its_workspace(served: Served) -> None:
    agent = await make(served)
    await make(served)
    cursor = (await served.call("GET", "/v1/agents?limit=1")).body["next_page"]
    invalid = (400, "invalid_request_error", "invalid page cursor")
    _, key = await served.new_workspace()
    assert (await served.call("GET", f"/v1/agents?page={cursor}", headers={"x-api-key": key})).error == invalid
    assert (await served.call("GET", f"/v1/environments?page={cursor}")).error == invalid
    assert (await served.call("GET", f"/v1/agents/{agent['id']}/versions?page={cursor}")).error == invalid
    damaged = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    assert (await served.call("GET", f"/v1/agents?page={damaged}")).error == invalid


async def test_a_cursor_that_the_time_filter_excludes_is_refused(served: Served) -> None:
    await make(served)
    newest = await make(served)
    cursor = (await served.call("GET", "/v1/agents?limit=1")).body["next_page"]
    answer = await served.call("GET", f"/v1/agents?page={cursor}&created_at[lt]={newest['created_at']}")
    text = "page: the created_at filter excludes the position of the page cursor"
    assert answer.error == (400, "invalid_request_error", text)


async def test_what_a_refused_request_says_is_not_recorded(served: Served) -> None:
    before = await served.control_log.last_sequence()
    assert (await served.call("POST", "/v1/agents", BASE | {"name": ""})).status == 400
    assert (await served.call("POST", "/v1/agents", BASE | {"model": "nobody/knows"})).status == 400
    assert await served.control_log.last_sequence() == before


async def test_each_record_names_the_event_the_workspace_and_the_key(served: Served) -> None:
    agent = await make(served)
    await served.call("POST", f"/v1/agents/{agent['id']}", {"name": "two"})
    await served.call("POST", f"/v1/agents/{agent['id']}/archive")
    records = [orjson.loads(raw.payload) async for raw in served.control_log.read(f"control.agent.{agent['id']}")]
    assert [record["type"] for record in records] == ["agent.created", "agent.updated", "agent.archived"]
    assert {record["workspace_id"] for record in records} == {served.workspace_id}
    assert {record["actor"] for record in records} == {served.key_id}
    assert [record["data"]["version"] for record in records] == [1, 2, 2]
