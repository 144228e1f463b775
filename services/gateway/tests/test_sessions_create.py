"""Creating sessions: what is pinned, what is refused, and that a refused request leaves nothing."""

from pathlib import Path
from typing import Any

import pytest

from efferent.common.domain.commands import CreateSession
from efferent.common.session_creation import SessionPlanner
from efferent.gateway.sessions.creation import DELETED_TEXT
from services.gateway.tests.session_api import Api, api, message


async def create(made: Api, **fields: object) -> Any:
    """Create with an agent and environment of its own unless they are given; the raw answer."""
    body = {"agent": await made.agent(), "environment_id": await made.environment(), **fields}
    return await made.call("POST", "/v1/sessions", body)


async def test_a_session_pins_its_agent_and_starts_idle(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.client.beta.agents.create(name="tester", model="offline/echo", system="one")
        environment = await made.client.beta.environments.create(name="testing")
        session = await made.client.beta.sessions.create(
            agent=agent.id, environment_id=environment.id, title="first", metadata={"a": "1"}
        )
        await made.client.beta.agents.update(agent.id, system="two")
        again = await made.client.beta.sessions.retrieve(session.id)
        for shown in (session, again):
            assert (shown.status, shown.title, shown.metadata) == ("idle", "first", {"a": "1"})
            assert (shown.agent.id, shown.agent.version, shown.agent.system) == (agent.id, 1, "one")
            assert (shown.environment_id, shown.archived_at, shown.budget) == (environment.id, None, None)


async def test_the_resource_has_every_field(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session()
        assert set(session) == {
            *("id", "type", "status", "title", "agent", "environment_id", "vault_ids", "resources", "metadata"),
            *("outcome_evaluations", "stats", "usage", "budget", "deployment_id"),
            *("created_at", "updated_at", "archived_at"),
        }
        assert session["usage"] == {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": None,
            "list_cost": {"amount": "0", "currency": "USD"},
            "active_seconds": 0,
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        }


async def test_an_older_version_can_be_pinned(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.agent(system="one")
        await made.call("POST", f"/v1/agents/{agent}", {"system": "two"})
        older = await made.session(agent={"type": "agent", "id": agent, "version": 1})
        newest = await made.session(agent={"type": "agent", "id": agent})
        assert (older["agent"]["version"], older["agent"]["system"]) == (1, "one")
        assert (newest["agent"]["version"], newest["agent"]["system"]) == (2, "two")
        missing = await create(made, agent={"type": "agent", "id": agent, "version": 999})
        assert (missing.status, missing.message) == (404, "agent.version: 999 not found")


async def test_overrides_replace_single_fields_for_this_session_only(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.agent(system="one")
        changed = {"type": "agent_with_overrides", "id": agent, "system": "other", "tools": []}
        session = await made.session(agent=changed)
        assert (session["agent"]["system"], session["agent"]["tools"]) == ("other", [])
        assert (session["agent"]["id"], session["agent"]["version"]) == (agent, 1)
        assert (await made.call("GET", f"/v1/agents/{agent}")).body["system"] == "one"
        no_model = await create(made, agent={"type": "agent_with_overrides", "id": agent, "model": None})
        assert (no_model.status, "agent_model_required" in no_model.message) == (400, True)


async def test_initial_events_start_the_session_running(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(initial_events=[message("one"), message("two")])
        assert session["status"] == "running"
        listed = await made.call("GET", f"/v1/sessions/{session['id']}/events")
        assert [event["content"][0]["text"] for event in listed.body["data"]] == ["one", "two"]
        assert (await made.session(initial_events=[]))["status"] == "idle"


FILE_DOCUMENT = {"type": "document", "source": {"type": "file", "file_id": "file_x"}}
REFUSED: list[tuple[dict[str, object], int, str]] = [
    (
        {"initial_events": [{"type": "user.message", "content": [FILE_DOCUMENT] * 101}]},
        400,
        "initial_events: at most 100 document blocks may come from files",
    ),
    (
        {"initial_events": [{"type": "user.message", "content": [FILE_DOCUMENT] * 100}]},
        404,
        "initial_events[0].content[0].source.file_id: File not found.",
    ),
    (
        {"initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "x"}] * 1_001}]},
        400,
        "initial_events[0].content: must have at most 1000 entries",
    ),
    ({"agent": None}, 400, "Failed to parse request: agent"),
    ({"agent": "nonsense"}, 400, "Invalid agent ID."),
    ({"agent": "agent_unknown"}, 404, "Agent not found."),
    ({"agent": {"type": "agent", "id": "agent_unknown", "version": 0}}, 400, "agent.version"),
    (
        {"agent": {"type": "agents", "id": "agent_unknown"}},
        400,
        'agent.type: "agents" is not a valid value; expected one of agent, agent_with_overrides',
    ),
    ({"environment_id": "nonsense"}, 400, "Invalid environment ID."),
    ({"environment_id": "env_unknown"}, 404, "Environment not found."),
    ({"title": 5}, 400, "Failed to parse request: title: must be a string"),
    ({"title": "x" * 2049}, 400, "Failed to parse request: title: must be at most 2048 characters"),
    ({"metadata": {"a": 1}}, 400, "Failed to parse request: metadata.a: must be a string"),
    ({"metadata": {"": "x"}}, 400, "metadata: keys must be 1 to 64 characters"),
    ({"metadata": {"a": "x" * 513}}, 400, "metadata.a: must be at most 512"),
    ({"metadata": {str(n): "x" for n in range(17)}}, 400, "metadata: at most 16 pairs"),
    ({"resources": [{"type": "file", "file_id": "file_x"}]}, 404, "resources[0].file_id: File not found."),
    ({"resources": [{"type": "file", "file_id": "nonsense"}]}, 400, "resources[0].file_id: Invalid file ID."),
    ({"resources": [{"type": "folder"}]}, 400, 'resources[0].type: "folder" is not a valid value'),
    ({"vault_ids": ["vlt_x"]}, 404, "vault_ids[0]: Vault vlt_x not found."),
    ({"vault_ids": ["nonsense"]}, 400, "vault_ids[0]: Invalid vault ID."),
    ({"vault_ids": ["vlt_x"] * 51}, 400, "vault_ids: must have at most 50 entries"),
    ({"budget": {"type": "limit"}}, 400, "budget.max_list_cost: field is required"),
    ({"more": 1}, 400, "Failed to parse request: more: unknown field"),
    ({"initial_events": [message("x")] * 51}, 400, "initial_events: must have at most 50"),
    (
        {"initial_events": [{"type": "user.interrupt"}]},
        400,
        'initial_events[0].type: "user.interrupt" is not a valid value; expected one of user.message',
    ),
    (
        {"initial_events": [message("x"), {"type": "user.define_outcome", "description": "d"}]},
        400,
        "initial_events[1].rubric: field is required",
    ),
    (
        {"initial_events": [{"type": "user.message", "content": [{"type": "redacted"}]}]},
        400,
        "initial_events[0].content[0]: redacted content cannot be sent",
    ),
]


async def test_what_is_refused_and_that_it_leaves_nothing(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent, environment = await made.agent(), await made.environment()
        for fields, status, said in REFUSED:
            body = {"agent": agent, "environment_id": environment, **fields}
            answer = await made.call("POST", "/v1/sessions", body)
            assert answer.status == status, answer.body
            assert said in answer.message
        assert (await made.call("GET", "/v1/sessions")).body["data"] == []


async def test_null_stands_for_left_out(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        answer = await create(made, title=None, metadata=None, resources=[], vault_ids=[], budget=None)
        assert answer.status == 200


async def test_archived_agents_and_environments_make_no_sessions(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent, environment = await made.agent(), await made.environment("old")
        await made.call("POST", f"/v1/agents/{agent}/archive")
        await made.call("POST", f"/v1/environments/{environment}/archive")
        answer = await create(made, agent=agent)
        assert (answer.status, answer.message) == (
            400,
            f"agent {agent} is archived and cannot be used to create a session",
        )
        agent = await made.agent()
        answer = await made.call("POST", "/v1/sessions", {"agent": agent, "environment_id": environment})
        assert (answer.status, answer.message) == (400, f"Environment {environment} is archived.")


async def test_another_workspaces_agent_is_not_found(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        answer = await made.call("POST", "/v1/sessions", body, key=made.other_key)
        assert (answer.status, answer.message) == (404, "Agent not found.")


async def test_an_idempotency_key_makes_one_session(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        first = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
        again = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
        other = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k2")
        assert again.body["id"] == first.body["id"] != other.body["id"]
        await made.call("DELETE", f"/v1/sessions/{first.body['id']}")
        deleted = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
        assert (deleted.status, deleted.headers["x-should-retry"]) == (409, "false")


async def test_a_session_that_was_made_and_deleted_while_it_was_asked_for_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two requests with one key, one is held up until the session of the other one is gone."""
    async with api(tmp_path) as made:
        body = {"agent": await made.agent(), "environment_id": await made.environment()}
        plan, held_up = SessionPlanner.plan, [True]

        async def made_and_deleted(planner: SessionPlanner, *wanted: Any) -> CreateSession:
            if held_up:
                held_up.clear()
                other = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
                assert (await made.call("DELETE", f"/v1/sessions/{other.body['id']}")).status == 200
            return await plan(planner, *wanted)

        monkeypatch.setattr(SessionPlanner, "plan", made_and_deleted)
        again = await made.call("POST", "/v1/sessions", body, Idempotency_Key="k1")
        assert (again.status, again.message) == (409, DELETED_TEXT)
        assert (await made.call("GET", "/v1/sessions")).body["data"] == []
