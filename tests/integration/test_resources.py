"""Agents, environments, sessions, threads and models through the SDK."""

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.playing import MODEL, Played, bash, fresh_name, message, scripted, text_of, toolset
from tests.support.raw_api import RawApi

# --- agents -----------------------------------------------------------------------------------------------------------


async def test_an_agent_is_echoed_with_every_default_filled_in(client: AsyncAnthropic) -> None:
    agent = await client.beta.agents.create(name="a", model=MODEL, tools=[{"type": "agent_toolset_20260401"}])
    shown: Any = agent.to_dict(mode="json")
    assert (shown["type"], shown["version"], shown["archived_at"]) == ("agent", 1, None)
    assert shown["model"] == {"id": MODEL, "effort": {"type": "high"}, "speed": "standard"}
    assert (shown["system"], shown["description"], shown["multiagent"]) == (None, None, None)
    assert (shown["skills"], shown["mcp_servers"], shown["metadata"]) == ([], [], {})
    assert shown["execution_identity"] == {"type": "service_account"}
    (tools,) = shown["tools"]
    assert tools["default_config"] == {"enabled": True, "permission_policy": {"type": "always_allow"}}
    assert tools["configs"] == []


async def test_every_change_of_an_agent_is_a_version_and_no_change_is_none(client: AsyncAnthropic) -> None:
    agent = await client.beta.agents.create(name="a", model=MODEL, metadata={"keep": "1", "drop": "2"})
    second = await client.beta.agents.update(agent.id, version=1, system="be brief", metadata={"drop": None})
    assert (second.version, second.system, second.metadata, second.name) == (2, "be brief", {"keep": "1"}, "a")
    same = await client.beta.agents.update(agent.id, system="be brief")
    assert (same.version, same.updated_at) == (2, second.updated_at)
    cleared = await client.beta.agents.update(agent.id, system="")
    assert (cleared.version, cleared.system) == (3, None)
    old = await client.beta.agents.retrieve(agent.id, version=1)
    assert (old.version, old.metadata) == (1, {"keep": "1", "drop": "2"})
    versions = [found.version async for found in client.beta.agents.versions.list(agent.id, limit=2)]
    assert versions == [3, 2, 1]


async def test_a_stale_version_is_a_final_conflict(client: AsyncAnthropic, raw: RawApi) -> None:
    agent = await client.beta.agents.create(name="a", model=MODEL)
    await client.beta.agents.update(agent.id, system="two")
    with pytest.raises(anthropic.ConflictError) as caught:
        await client.beta.agents.update(agent.id, version=1, system="two")
    assert caught.value.response.headers["x-should-retry"] == "false"
    answer = await raw.call("POST", f"/v1/agents/{agent.id}", {"version": 1, "name": "b"})
    assert (answer.status, answer.error["type"]) == (409, "conflict_error")
    assert (await client.beta.agents.retrieve(agent.id)).version == 2


async def test_of_two_updates_at_once_with_a_version_one_wins(client: AsyncAnthropic) -> None:
    agent = await client.beta.agents.create(name="a", model=MODEL)
    updates = [client.beta.agents.update(agent.id, version=1, system=f"s{number}") for number in range(5)]
    results = await asyncio.gather(*updates, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["BetaManagedAgentsAgent"] + ["ConflictError"] * 4
    assert (await client.beta.agents.retrieve(agent.id)).version == 2


async def test_an_archived_agent_is_read_only_and_makes_no_sessions(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    session = await played.retrieve()
    archived = await client.beta.agents.archive(session.agent.id)
    again = await client.beta.agents.archive(session.agent.id)
    assert archived.archived_at is not None
    assert again.archived_at == archived.archived_at
    with pytest.raises(anthropic.BadRequestError, match="Cannot modify archived agent"):
        await client.beta.agents.update(session.agent.id, name="b")
    with pytest.raises(anthropic.BadRequestError, match="is archived and cannot be used"):
        await client.beta.sessions.create(agent=session.agent.id, environment_id=session.environment_id)
    assert (await played.until_idle(message("still here?")))[-1].stop_reason.type == "end_turn"
    listed = [agent.id async for agent in client.beta.agents.list(limit=100)]
    assert session.agent.id not in listed
    with_archived = [agent.id async for agent in client.beta.agents.list(limit=100, include_archived=True)]
    assert session.agent.id in with_archived


async def test_what_was_created_is_in_the_next_list_newest_first(client: AsyncAnthropic) -> None:
    made = [(await client.beta.agents.create(name=f"a{number}", model=MODEL)).id for number in range(3)]
    page = await client.beta.agents.list(limit=100)
    listed = [agent.id for agent in page.data]
    assert [agent_id for agent_id in listed if agent_id in made] == made[::-1]


# --- environments -----------------------------------------------------------------------------------------------------


async def test_a_taken_environment_name_is_a_conflict_that_names_the_holder(client: AsyncAnthropic) -> None:
    name = fresh_name("env")
    first = await client.beta.environments.create(name=name)
    with pytest.raises(anthropic.ConflictError) as caught:
        await client.beta.environments.create(name=name)
    assert first.id in str(caught.value)
    assert caught.value.response.headers["x-should-retry"] == "false"
    await client.beta.environments.archive(first.id)
    assert (await client.beta.environments.create(name=name)).id != first.id


async def test_of_many_creates_with_one_name_one_wins(client: AsyncAnthropic) -> None:
    name = fresh_name("env")
    made = await asyncio.gather(*(client.beta.environments.create(name=name) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, anthropic.ConflictError) for result in made) == 7


async def test_environments_are_updated_archived_and_deleted(client: AsyncAnthropic) -> None:
    networking: Any = {"type": "limited", "allowed_hosts": ["example.com"]}
    made = await client.beta.environments.create(
        name=fresh_name("env"), description="d", config={"type": "cloud", "networking": networking}
    )
    shown: Any = made.to_dict(mode="json")["config"]
    assert shown["networking"] == {
        "type": "limited", "allowed_hosts": ["example.com"],
        "allow_mcp_servers": False, "allow_package_managers": False,
    }  # fmt: skip
    assert shown["packages"]["pip"] == []
    changed = await client.beta.environments.update(made.id, description="e")
    assert (changed.description, changed.config) == ("e", made.config)
    with pytest.raises(anthropic.BadRequestError, match=r"config\.type"):
        await client.beta.environments.update(made.id, config={"type": "self_hosted"})
    archived = await client.beta.environments.archive(made.id)
    assert archived.archived_at is not None
    agent = await client.beta.agents.create(name="a", model=MODEL)
    with pytest.raises(anthropic.BadRequestError, match="is archived"):
        await client.beta.sessions.create(agent=agent.id, environment_id=made.id)
    gone = await client.beta.environments.delete(made.id)
    assert (gone.id, gone.type) == (made.id, "environment_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.environments.retrieve(made.id)


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_new_session_is_idle_with_nothing_used(client: AsyncAnthropic) -> None:
    played = await Played.create(client, title="t", metadata={"k": "v"})
    shown = (await played.retrieve()).to_dict(mode="json")
    assert (shown["status"], shown["title"], shown["metadata"]) == ("idle", "t", {"k": "v"})
    assert shown["usage"]["input_tokens"] == 0
    assert shown["usage"]["list_cost"] == {"amount": "0", "currency": "USD"}
    assert shown["stats"]["active_seconds"] == 0
    assert (shown["resources"], shown["vault_ids"], shown["outcome_evaluations"]) == ([], [], [])
    assert (shown["budget"], shown["deployment_id"], shown["archived_at"]) == (None, None, None)
    assert await played.types() == []


async def test_a_session_keeps_the_agent_that_it_was_created_with(client: AsyncAnthropic) -> None:
    environment = await client.beta.environments.create(name=fresh_name("env"))
    agent = await client.beta.agents.create(name="a", model=MODEL, system="one")
    await client.beta.agents.update(agent.id, system="two")
    pinned = await client.beta.sessions.create(
        agent={"type": "agent", "id": agent.id, "version": 1}, environment_id=environment.id
    )
    newest = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    await client.beta.agents.update(agent.id, system="three")
    assert (pinned.agent.version, pinned.agent.system) == (1, "one")
    assert (newest.agent.version, newest.agent.system) == (2, "two")
    assert (await client.beta.sessions.retrieve(newest.id)).agent.system == "two"


async def test_overrides_replace_single_fields_of_the_agent(client: AsyncAnthropic, model: Any) -> None:
    environment = await client.beta.environments.create(name=fresh_name("env"))
    agent = await client.beta.agents.create(
        name="a", model={"id": MODEL, "effort": "low"}, system="one", tools=[{"type": "agent_toolset_20260401"}]
    )
    session = await client.beta.sessions.create(
        agent={"type": "agent_with_overrides", "id": agent.id, "model": "claude-opus-5-5", "system": None},
        environment_id=environment.id,
    )
    assert (session.agent.id, session.agent.version) == (agent.id, 1)
    assert (session.agent.model.id, session.agent.system) == ("claude-opus-5-5", None)
    plain = await client.beta.agents.create(name="b", model="claude-opus-5-5")
    assert session.agent.model.effort == plain.model.effort
    assert len(session.agent.tools) == 1
    played, word = Played(client, session.id), fresh_name("overrides")
    await played.until_idle(message(word))
    (request,) = await model.requests(word)
    assert request["body"]["model"] == "claude-opus-5-5"


async def test_initial_events_start_the_session_running(client: AsyncAnthropic) -> None:
    played = await Played.create(client, initial_events=[message("begin"), message("and this")])
    async with asyncio.timeout(20):
        while (await played.retrieve()).status != "idle":
            async with played.watch() as watch:
                if (await played.retrieve()).status == "running":
                    await watch.until("session.status_idle")
    events = await played.events()
    assert [text_of(event) for event in events if event.type == "user.message"] == ["begin", "and this"]
    assert events[-1].type == "session.status_idle"


async def test_updates_say_what_changed_and_nothing_when_nothing_did(client: AsyncAnthropic) -> None:
    played = await Played.create(client, title="a", metadata={"x": "1", "y": "2"})
    async with played.watch() as watch:
        changed = await client.beta.sessions.update(played.id, title="b", metadata={"x": None, "z": "3"})
        first = await watch.until("session.updated")
        await client.beta.sessions.update(played.id, title="b")
        asking: Any = {"tools": [toolset("always_ask")]}
        await client.beta.sessions.update(played.id, agent=asking)
        second = await watch.until("session.updated", count=2)
    assert (changed.title, changed.metadata) == ("b", {"y": "2", "z": "3"})
    shown = first.to_dict(mode="json")
    assert (shown["title"], shown["metadata"], "agent" in shown) == ("b", {"y": "2", "z": "3"}, False)
    assert second.to_dict(mode="json")["agent"]["tools"][0]["default_config"]["permission_policy"] == {
        "type": "always_ask"
    }
    assert await played.types() == ["session.updated", "session.updated"]
    seen = await played.until_idle(scripted(bash("echo"), {"text": "x"}))
    assert seen[-1].stop_reason.type == "requires_action"


async def test_sessions_are_listed_with_every_filter_and_both_cursors(client: AsyncAnthropic) -> None:
    environment = await client.beta.environments.create(name=fresh_name("env"))
    agent = await client.beta.agents.create(name="a", model=MODEL)
    made = [
        await client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title=f"s{number}")
        for number in range(5)
    ]
    ids = [session.id for session in made]

    async def listed(**options: Any) -> list[str]:
        return [found.id async for found in client.beta.sessions.list(agent_id=agent.id, **options)]

    assert await listed() == ids[::-1]
    assert await listed(order="asc", limit=2) == ids
    assert await listed(agent_version=1, statuses=["idle", "running"]) == ids[::-1]
    assert await listed(statuses=["running"]) == []
    assert await listed(agent_version=2) == []
    assert await listed(created_at_gt=made[1].created_at, order="asc") == ids[2:]
    assert await listed(created_at_gte=made[1].created_at, created_at_lt=made[3].created_at, order="asc") == ids[1:3]
    await client.beta.sessions.archive(ids[0])
    assert await listed(order="asc") == ids[1:]
    assert await listed(order="asc", include_archived=True) == ids
    assert await listed(include_archived=True, statuses=["terminated"]) == ids[:1]

    first = await client.beta.sessions.list(agent_id=agent.id, order="asc", limit=2)
    assert first.prev_page is None
    second = await client.beta.sessions.list(agent_id=agent.id, order="asc", limit=2, page=first.next_page or "")
    assert [session.id for session in second.data] == ids[3:]
    back = await client.beta.sessions.list(agent_id=agent.id, order="asc", limit=2, page=second.prev_page or "")
    assert [session.id for session in back.data] == ids[1:3]
    with pytest.raises(anthropic.BadRequestError, match="page token order does not match request"):
        await client.beta.sessions.list(agent_id=agent.id, order="desc", page=first.next_page or "")


async def test_the_status_filter_follows_the_session(client: AsyncAnthropic, model: Any) -> None:
    played, gate = await Played.create(client), fresh_name()
    agent_id = (await played.retrieve()).agent.id
    async with played.watch() as watch:
        await played.send(scripted({"text": "x", "gate": gate}))
        running = await client.beta.sessions.list(agent_id=agent_id, statuses=["running"])
        assert [session.id for session in running.data] == [played.id]
        assert (await played.retrieve()).status == "running"
        await model.open(gate)
        await watch.until("session.status_idle")
    idle = await client.beta.sessions.list(agent_id=agent_id, statuses=["idle"])
    assert [session.id for session in idle.data] == [played.id]


async def test_a_deleted_session_is_gone_everywhere(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(message("hello"))
    agent_id = (await played.retrieve()).agent.id
    await client.beta.sessions.delete(played.id)
    with pytest.raises(anthropic.NotFoundError):
        await played.retrieve()
    with pytest.raises(anthropic.NotFoundError):
        await played.events()
    with pytest.raises(anthropic.NotFoundError):
        await played.send(message("anybody?"))
    assert [found.id async for found in client.beta.sessions.list(agent_id=agent_id, include_archived=True)] == []


async def test_an_alternate_prefix_of_a_session_id_is_taken(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    found = await client.beta.sessions.retrieve(played.id.replace("sesn_", "session_"))
    assert found.id == played.id


# --- events -----------------------------------------------------------------------------------------------------------


async def test_events_are_listed_with_filters_orders_and_pages(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(scripted(bash("echo hi"), {"text": "done"}))
    events = await played.events()
    ids = [event.id for event in events]

    async def listed(**options: Any) -> list[str]:
        return [found.id async for found in client.beta.sessions.events.list(played.id, **options)]

    for limit in (1, 2, 5, 1000):
        assert await listed(limit=limit) == ids
        assert await listed(limit=limit, order="desc") == ids[::-1]
    wanted = ["agent.tool_use", "agent.tool_result"]
    assert await listed(types=wanted) == [event.id for event in events if event.type in wanted]
    assert await listed(created_at_gt=events[3].processed_at) == ids[4:]
    assert await listed(created_at_gte=events[3].processed_at, created_at_lte=events[5].processed_at) == ids[3:6]
    assert await listed(types=["agent.message"], order="desc", limit=1, created_at_lt=events[5].processed_at) == []


async def test_queued_events_are_listed_last_without_a_time(client: AsyncAnthropic, model: Any) -> None:
    played, gate = await Played.create(client), fresh_name()
    async with played.watch() as watch:
        await played.send(scripted({"text": "x", "gate": gate}))
        await model.waiting(gate)
        (echo,) = await played.send(message("queued"))
        events = await played.events()
        assert (events[-1].id, events[-1].processed_at) == (echo.id, None)
        await model.open(gate)
        await watch.until("session.status_idle")
    assert [event.id for event in await played.events() if event.processed_at is None] == []


async def test_an_idempotency_key_gets_the_first_answer_again(client: AsyncAnthropic, raw: RawApi) -> None:
    played = await Played.create(client)
    key = {"Idempotency-Key": fresh_name("key")}
    async with played.watch() as watch:
        first = await raw.send(played.id, message("once"), headers=key)
        second = await raw.send(played.id, message("once"), headers=key)
        await watch.until("session.status_idle")
    assert first.status == second.status == 200
    assert first.json == second.json
    third = await raw.send(played.id, message("once"), headers=key)
    assert third.json == first.json
    assert (await played.types()).count("user.message") == 1


async def test_an_idempotency_key_makes_one_session(client: AsyncAnthropic, raw: RawApi) -> None:
    session = await (await Played.create(client)).retrieve()
    body = {"agent": session.agent.id, "environment_id": session.environment_id}
    key = {"Idempotency-Key": fresh_name("key")}
    first, second = [await raw.call("POST", "/v1/sessions", body, headers=key) for _ in range(2)]
    assert first.json["id"] == second.json["id"]


# --- threads, models, health ------------------------------------------------------------------------------------------


async def test_every_session_has_its_primary_thread(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(message("hello"))
    (thread,) = [thread async for thread in client.beta.sessions.threads.list(played.id)]
    running = next(event for event in await played.events() if event.type == "session.thread_status_running")
    assert running.session_thread_id == thread.id
    same = await client.beta.sessions.threads.retrieve(thread.id, session_id=played.id)
    assert (same.id, same.status, same.session_id) == (thread.id, "idle", played.id)
    listed = [event.id async for event in client.beta.sessions.threads.events.list(thread.id, session_id=played.id)]
    assert listed == [event.id for event in await played.events()]
    with pytest.raises(anthropic.BadRequestError):
        await client.beta.sessions.threads.archive(thread.id, session_id=played.id)


async def test_models_are_listed_without_a_beta_header(client: AsyncAnthropic) -> None:
    ids = [model.id async for model in client.models.list(limit=100)]
    assert MODEL in ids
    assert (await client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("no-such-model")


async def test_health_readiness_and_metrics_need_no_key(raw: RawApi) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = await raw.call("GET", path, headers={"authorization": None, "anthropic-beta": None})
        assert answer.status == 200, path
