"""What bad input gets: a 4xx in the envelope that names the path, and nothing of it recorded."""

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY
from tests.support.playing import (
    Played,
    bash,
    confirmation,
    custom_result,
    custom_tool,
    fresh_name,
    interrupt,
    message,
    of_type,
    scripted,
    toolset,
)
from tests.support.raw_api import BETA, Answer, RawApi


def check(answer: Answer, status: int, words: str, kind: str = "invalid_request_error") -> None:
    """The answer is this refusal, in the envelope."""
    assert answer.status == status, answer.text
    assert answer.error["type"] == kind
    assert words in answer.error["message"]


# --- who asks, and for what -----------------------------------------------------------------------------------------

OTHER = {"authorization": None}


@pytest.mark.parametrize(
    "headers",
    [
        OTHER,
        {"authorization": "Bearer sk-ant-wrong"},
        {"authorization": "Basic abc"},
        {**OTHER, "x-api-key": "sk-ant-wrong"},
        {**OTHER, "x-api-key": ""},
        {"x-api-key": API_KEY},
    ],
    ids=["no key", "wrong bearer", "other scheme", "wrong x-api-key", "empty", "both headers"],
)
async def test_a_missing_or_wrong_key_is_answered_401(raw: RawApi, headers: Mapping[str, str | None]) -> None:
    answer = await raw.call("GET", "/v1/agents", headers={**headers, "anthropic-beta": None})
    check(answer, 401, "Authentication failed", "authentication_error")
    assert "anthropic-workspace-id" not in answer.headers


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("form", ["bearer", "x-api-key"])
async def test_both_versions_and_both_forms_of_the_key_are_taken(raw: RawApi, version: str, form: str) -> None:
    key: Mapping[str, str | None] = {"authorization": None, "x-api-key": API_KEY} if form == "x-api-key" else {}
    answer = await raw.call("GET", "/v1/agents?beta=true", headers={**key, "anthropic-version": version})
    assert answer.status == 200
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["anthropic-workspace-id"].startswith("wrkspc_")
    assert "anthropic-organization-id" in answer.headers


async def test_an_unknown_route_is_answered_404_before_the_key_is_looked_at(raw: RawApi) -> None:
    check(await raw.call("GET", "/v1/nothing", headers=OTHER), 404, "Not found", "not_found_error")
    check(await raw.call("GET", "/nothing", headers=OTHER), 404, "Not found", "not_found_error")


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/sessions", "/v1/environments"])
async def test_without_the_beta_value_the_routes_do_not_exist(raw: RawApi, path: str) -> None:
    check(await raw.call("GET", path, headers={"anthropic-beta": None}), 404, "not found", "not_found_error")


async def test_unknown_beta_values_are_refused_where_the_hosted_service_does(raw: RawApi) -> None:
    unknown = {"anthropic-beta": f"no-such-beta-2026-01-01,{BETA}"}
    assert (await raw.call("GET", "/v1/agents", headers=unknown)).status == 200
    assert (await raw.call("GET", "/v1/sessions", headers=unknown)).status == 200
    check(await raw.call("GET", "/v1/environments", headers=unknown), 400, "no-such-beta-2026-01-01")
    only = {"anthropic-beta": "no-such-beta-2026-01-01"}
    check(await raw.call("GET", "/v1/agents", headers=only), 404, "not found", "not_found_error")


async def test_a_request_without_a_version_is_refused(raw: RawApi) -> None:
    answer = await raw.call("GET", "/v1/agents", headers={"anthropic-version": None})
    check(answer, 400, "anthropic-version: header is required")
    check(await raw.call("GET", "/v1/agents", headers={"anthropic-version": "2020-01-01"}), 400, "anthropic-version")


async def test_a_foreign_workspace_is_refused(raw: RawApi) -> None:
    answer = await raw.call("GET", "/v1/agents", headers={"anthropic-workspace-id": "wrkspc_other"})
    check(answer, 400, "anthropic-workspace-id")


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"{", b"", b"[]", b'"x"', b"\xff\xfe", b"{" * 2 + b"}"])
async def test_broken_json_is_refused(raw: RawApi, data: bytes) -> None:
    check(await raw.call("POST", "/v1/agents", data=data), 400, "Failed to parse request")


async def test_a_body_that_is_nested_too_deep_is_refused(raw: RawApi) -> None:
    data = b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await raw.call("POST", "/v1/agents", data=data)).status == 400


async def test_a_body_over_32_mb_is_refused(raw: RawApi) -> None:
    body = io.BytesIO(b'{"name":"' + b"x" * (32 * 1024 * 1024) + b'"}')
    answer = await raw.call("POST", "/v1/agents", data=body)
    check(answer, 413, "larger", "request_too_large")


AGENT = {"name": "a", "model": "claude-sonnet-5-5"}
TOOLSET: dict[str, Any] = {"type": "agent_toolset_20260401"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"model": None}, "model"),
        ({"model": "no-such-model"}, "claude-*"),
        ({"model": {"id": "claude-sonnet-5-5", "speed": "warp"}}, "model.speed"),
        ({"system": "x" * 100_001}, "system"),
        ({"description": 3}, "description"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"metadata": {f"k{number}": "v" for number in range(17)}}, "metadata"),
        ({"colour": "red"}, "colour"),
        ({"tools": [{"type": "no_such"}]}, "tools[0].type"),
        ({"tools": [{**TOOLSET, "configs": [{"name": "find"}]}]}, "tools[0].configs[0].name"),
        ({"tools": [{**TOOLSET, "configs": [{"name": "bash"}, {"name": "bash"}]}]}, "configs.1"),
        ({"tools": [{**TOOLSET, "default_config": {"permission_policy": {"type": "never"}}}]}, "permission_policy"),
        ({"tools": [TOOLSET, TOOLSET]}, "tools.1"),
        ({"tools": [{**custom_tool(), "name": "bash"}]}, "bash"),
        ({"tools": [{**custom_tool(), "name": "mcp__x"}]}, "mcp__"),
        ({"tools": [{**custom_tool(), "input_schema": {"type": "array"}}]}, "input_schema"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "mcp_servers"),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "https://x.test"}]}, "mcp_toolset"),
    ],
)
async def test_an_agent_that_cannot_be_is_refused_with_the_path(
    raw: RawApi, change: Mapping[str, Any], words: str
) -> None:
    body = {name: value for name, value in {**AGENT, **change}.items() if value is not None}
    answer = await raw.call("POST", "/v1/agents", body)
    check(answer, 400, words)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "events"),
        ([{"type": "tool_confirmation"}], 'events[0].type: "tool_confirmation" is not a valid value'),
        ([message("x"), {"type": "agent.message"}], "events[1].type"),
        ([{"content": []}], "events[0].type"),
        ([{"type": "user.message"}], "events[0].content"),
        ([{"type": "user.message", "content": []}], "events[0].content"),
        ([{"type": "user.message", "content": [{"type": "video"}]}], "events[0].content[0].type"),
        ([{"type": "user.message", "content": [{"type": "text"}]}], "events[0].content[0].text"),
        ([{"type": "user.message", "content": [{"type": "redacted"}]}], "events[0].content[0]"),
        ([message("x"), {**message("y"), "mood": "good"}], "events[1].mood"),
        ([confirmation("sevt_x")], "events[0]"),
        ([custom_result("sevt_x", "y")], "events[0]"),
        ([{"type": "user.tool_result", "tool_use_id": "sevt_x"}], "events[0]"),
        ([{"type": "user.tool_confirmation", "tool_use_id": "sevt_x", "result": "maybe"}], "events[0].result"),
        ([confirmation("sevt_x", deny_message="no")], "events[0].deny_message"),
        ([{"type": "system.message", "content": [{"type": "text", "text": "x"}]}, message("y")], "events[0]"),
        ([message("x")] * 1_001, "events"),
    ],
)
async def test_events_that_cannot_be_are_refused_and_none_of_them_is_recorded(
    client: AsyncAnthropic, raw: RawApi, events: list[Mapping[str, Any]], words: str
) -> None:
    played = await Played.create(client)
    check(await raw.send(played.id, *events), 400, words)
    assert await raw.types(played.id) == []
    assert (await played.retrieve()).status == "idle"


@pytest.mark.parametrize("field", ["agent", "environment_id"])
async def test_a_session_needs_its_parts(client: AsyncAnthropic, raw: RawApi, field: str) -> None:
    played = await Played.create(client)
    session = await played.retrieve()
    body = {"agent": session.agent.id, "environment_id": session.environment_id}
    del body[field]
    check(await raw.call("POST", "/v1/sessions", body), 400, field)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"agent": "nonsense"}, 400, "Invalid agent ID."),
        ({"environment_id": "nonsense"}, 400, "Invalid environment ID."),
        ({"agent": {"type": "agent", "id": "@", "version": 999}}, 404, "agent.version: 999 not found"),
        ({"agent": {"type": "team", "id": "@"}}, 400, "agent.type"),
        ({"agent": {"type": "agent_with_overrides", "id": "@", "model": None}}, 400, "agent_model_required"),
        ({"initial_events": [{"type": "user.interrupt"}]}, 400, "initial_events[0].type"),
        ({"initial_events": [message("x"), {"type": "user.message"}]}, 400, "initial_events[1].content"),
        ({"initial_events": [message("x")] * 51}, 400, "initial_events"),
        ({"metadata": {"": "x"}}, 400, "metadata"),
        ({"title": 3}, 400, "title"),
        ({"budget": {"type": "limit"}}, 400, "budget"),
        ({"vault_ids": ["vlt_x"]}, 404, "vault_ids"),
        ({"resources": [{"type": "file", "file_id": "file_x"}]}, 404, "resources"),
    ],
)
async def test_a_session_that_cannot_be_is_refused_and_does_not_exist(
    client: AsyncAnthropic, raw: RawApi, change: dict[str, Any], status: int, words: str
) -> None:
    played = await Played.create(client)
    session = await played.retrieve()
    body = json.loads(json.dumps({"agent": session.agent.id, "environment_id": session.environment_id, **change}))
    if isinstance(body["agent"], dict):
        body["agent"]["id"] = session.agent.id
    answer = await raw.call("POST", "/v1/sessions", body)
    check(answer, status, words, "not_found_error" if status == 404 else "invalid_request_error")
    listed = [found.id async for found in client.beta.sessions.list(agent_id=session.agent.id)]
    assert listed == [played.id]


# --- ids, cursors, filters --------------------------------------------------------------------------------------------

UNKNOWN = "0123456789abcdefghjkmnpqrs"


@pytest.mark.parametrize("kind", ["agents", "environments", "sessions"])
async def test_malformed_ids_are_400_and_unknown_ones_404(client: AsyncAnthropic, raw: RawApi, kind: str) -> None:
    check(await raw.call("GET", f"/v1/{kind}/nonsense"), 400, "Invalid")
    played = await Played.create(client)
    session = await played.retrieve()
    known = {"agents": session.agent.id, "environments": session.environment_id, "sessions": session.id}[kind]
    unknown = known[:-6] + ("zzzzzz" if not known.endswith("zzzzzz") else "yyyyyy")
    check(await raw.call("GET", f"/v1/{kind}/{unknown}"), 404, "not found", "not_found_error")


@pytest.mark.parametrize("tail", ["events", "events/stream", "threads"])
async def test_parts_of_unknown_sessions_are_404(client: AsyncAnthropic, raw: RawApi, tail: str) -> None:
    played = await Played.create(client)
    unknown = played.id[:-6] + ("zzzzzz" if not played.id.endswith("zzzzzz") else "yyyyyy")
    answer = await raw.call("GET", f"/v1/sessions/{unknown}/{tail}")
    check(answer, 404, "not found", "not_found_error")
    assert (await raw.send(unknown, message("x"))).status == 404
    assert (await raw.call("DELETE", f"/v1/sessions/{unknown}")).status == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/sessions?page=nonsense", "invalid page cursor"),
        ("/v1/agents?page=page_AAAA", "invalid page cursor"),
        ("/v1/agents?limit=0", "limit"),
        ("/v1/agents?limit=101", "limit"),
        ("/v1/agents?limit=x", "limit"),
        ("/v1/sessions?order=up", "order"),
        ("/v1/sessions?statuses[]=busy", "statuses[0]"),
        ("/v1/sessions?created_at[gte]=yesterday", "created_at[gte]"),
        ("/v1/sessions?agent_version=1", "agent_version"),
    ],
)
async def test_list_parameters_that_cannot_be_are_refused(raw: RawApi, path: str, words: str) -> None:
    check(await raw.call("GET", path), 400, words)


async def test_event_filters_that_cannot_be_are_refused(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    check(await raw.call("GET", f"/v1/sessions/{played.id}/events?types[]=session.deleted"), 400, "types[0]")
    check(await raw.call("GET", f"/v1/sessions/{played.id}/events?types[]=event_delta"), 400, "types[0]")
    check(await raw.call("GET", f"/v1/sessions/{played.id}/events?limit=1001"), 400, "limit")


# --- in the wrong state -----------------------------------------------------------------------------------------------


async def test_a_message_while_calls_wait_is_refused_with_their_ids(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client, tools=[toolset("always_ask")])
    seen = await played.until_idle(scripted({"tools": [bash("echo 1"), bash("echo 2")]}, {"text": "x"}))
    first, second = of_type(seen, "agent.tool_use")
    before = await raw.types(played.id)
    answer = await raw.send(played.id, message("hurry"))
    check(answer, 400, f"events[0]: waiting on responses to events [{first.id}, {second.id}]")
    # All or nothing: the good confirmation before the bad message is not recorded either.
    check(await raw.send(played.id, confirmation(first.id), message("hurry")), 400, "events[1]")
    assert await raw.types(played.id) == before
    assert (await played.retrieve()).status == "idle"


async def test_a_confirmation_of_what_needs_none_is_refused(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    seen = await played.until_idle(scripted(bash("echo"), {"text": "x"}))
    (use,) = of_type(seen, "agent.tool_use")
    check(await raw.send(played.id, confirmation(use.id)), 400, use.id)


async def test_an_answer_sent_again_is_the_recorded_one_and_another_is_refused(
    client: AsyncAnthropic, raw: RawApi
) -> None:
    played = await Played.create(client, tools=[custom_tool()])
    seen = await played.until_idle(scripted({"tool": "look_up", "input": {"key": "a"}}, {"text": "x"}))
    (use,) = of_type(seen, "agent.custom_tool_use")
    (first,) = await played.send(custom_result(use.id, "found"))
    (again,) = await played.send(custom_result(use.id, "found"))
    assert again.id == first.id
    check(await raw.send(played.id, custom_result(use.id, "something else")), 400, use.id)
    assert (await raw.types(played.id)).count("user.custom_tool_result") == 1


async def test_an_archived_session_takes_nothing(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    await client.beta.sessions.archive(played.id)
    before = await raw.types(played.id)
    for event in (message("x"), interrupt()):
        check(await raw.send(played.id, event), 400, "archived")
    check(await raw.call("POST", f"/v1/sessions/{played.id}", {"title": "new"}), 400, "archived")
    assert await raw.types(played.id) == before


async def test_a_running_session_can_be_neither_archived_nor_deleted(
    client: AsyncAnthropic, raw: RawApi, model: Any
) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({"text": "x", "gate": gate}))
        # From the moment of the send: input that is not yet taken in counts as running.
        check(await raw.call("POST", f"/v1/sessions/{played.id}/archive"), 400, 'while its status is "running"')
        check(await raw.call("DELETE", f"/v1/sessions/{played.id}"), 400, "while it is running")
        update: dict[str, Any] = {"agent": {"tools": []}}
        check(await raw.call("POST", f"/v1/sessions/{played.id}", update), 400, "must not be running")
        await model.open(gate)
        idle = await watch.until("session.status_idle")
    assert idle.stop_reason.type == "end_turn"
    assert (await raw.call("DELETE", f"/v1/sessions/{played.id}")).status == 200


async def test_an_interrupt_of_an_unknown_thread_is_404(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    answer = await raw.send(played.id, {"type": "user.interrupt", "session_thread_id": "sthr_unknown"})
    assert answer.status in (400, 404)
    assert await raw.types(played.id) == []
