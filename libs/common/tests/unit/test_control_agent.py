"""Agents: decisions, and what a session makes of an agent with its overrides. Pure."""

from typing import Any

import pytest

from efferent.common.domain.control.agent import (
    AGENT,
    AgentFields,
    AgentOverrides,
    ArchiveAgent,
    CreateAgent,
    UpdateAgent,
    decide,
    resolve_agent,
)
from efferent.common.domain.control.aggregate import Change, UnreadableRecord
from efferent.common.domain.control.model_choice import ModelChoice
from efferent.common.domain.ids import AgentId, ApiKeyId, WorkspaceId
from efferent.common.domain.model_catalog import traits_of
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.agent import (
    Agent,
    AgentSnapshot,
    AgentToolset,
    Effort,
    McpServer,
    McpToolset,
    ModelConfig,
    PermissionPolicy,
    ToolsetDefaults,
)
from efferent.common.domain.timestamp import Timestamp

EARLY, LATE = Timestamp("2026-01-01T00:00:00.000000Z"), Timestamp("2026-01-02T00:00:00.000000Z")
DEFAULTS = ToolsetDefaults(permission_policy=PermissionPolicy(type="always_ask"))
DOCS = McpServer(name="docs", url="https://mcp.example.com")
DOCS_TOOLS = McpToolset(mcp_server_name="docs", default_config=DEFAULTS)


def choice(model_id: str, **fields: Any) -> ModelChoice:
    return ModelChoice(traits=traits_of(model_id), id=model_id, **fields)


def make(**fields: Any) -> Agent:
    command = CreateAgent(
        id=AgentId("agent_x"),
        name="helper",
        model=choice("claude-opus-4-8", effort="low"),
        fields=AgentFields(**fields),
    )
    change = decide(None, command, EARLY)
    assert change is not None
    assert change.deed == "created"
    return change.data


def update(agent: Agent, now: Timestamp = LATE, version: int | None = None, **fields: Any) -> Change[Agent] | None:
    return decide(agent, UpdateAgent(fields=AgentFields(**fields), version=version), now)


def test_an_update_makes_the_next_version() -> None:
    change = update(make(), name="other")
    assert change is not None
    assert (change.deed, change.data.version, change.data.name) == ("updated", 2, "other")
    assert (change.data.created_at, change.data.updated_at) == (EARLY, LATE)


def test_an_update_that_changes_nothing_is_nothing() -> None:
    agent = make(system="s", metadata={"a": "1"})
    assert update(agent) is None
    assert update(agent, name="helper", system="s", metadata={"a": "1", "b": None}) is None
    assert update(agent, model=choice("claude-opus-4-8"), version=1) is None


def test_a_stale_version_is_a_conflict_even_when_nothing_would_change() -> None:
    with pytest.raises(Conflict):
        update(make(), version=2)


def test_time_never_goes_back_when_the_clock_does() -> None:
    change = update(make(), now=Timestamp("2025-01-01T00:00:00.000000Z"), name="other")
    assert change is not None
    assert change.data.updated_at == EARLY


def test_archiving_keeps_the_version_and_happens_once() -> None:
    change = decide(make(), ArchiveAgent(), LATE)
    assert change is not None
    assert (change.deed, change.data.version, change.data.archived_at) == ("archived", 1, LATE)
    assert decide(change.data, ArchiveAgent(), LATE) is None
    with pytest.raises(InvalidRequest, match="Cannot modify archived agent"):
        update(change.data, name="other")


def test_what_does_not_exist_is_not_found_and_what_exists_is_not_created_again() -> None:
    for command in (ArchiveAgent(), UpdateAgent(fields=AgentFields())):
        with pytest.raises(NotFound):
            decide(None, command, LATE)
    with pytest.raises(Conflict):
        decide(make(), CreateAgent(make().id, "x", choice("offline/echo"), AgentFields()), LATE)


def test_a_record_survives_its_encoding() -> None:
    agent = make(tools=(DOCS_TOOLS,), mcp_servers=(DOCS,))
    payload = AGENT.encode(
        Change("created", agent), at=EARLY, workspace_id=WorkspaceId("wrkspc_a"), actor=ApiKeyId("apikey_a")
    )
    record = AGENT.decode(payload)
    assert (record.type, record.workspace_id, record.actor) == ("agent.created", "wrkspc_a", "apikey_a")
    assert record.data == agent
    assert not AGENT.is_deleted(record)


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"v":2}', b'{"v":1,"type":"agent.created"}'])
def test_a_record_of_another_shape_is_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        AGENT.decode(payload)


# --- what a session pins ----------------------------------------------------------------------------------------------


def test_without_overrides_a_session_pins_the_agent_without_what_is_not_its_configuration() -> None:
    agent = make(system="s", metadata={"a": "1"})
    snapshot = resolve_agent(agent)
    assert type(snapshot) is AgentSnapshot
    assert set(snapshot.model_dump()) == set(AgentSnapshot.model_fields)
    assert (snapshot.id, snapshot.version, snapshot.system) == (agent.id, 1, "s")
    assert snapshot == AgentSnapshot.model_validate_json(snapshot.model_dump_json())


def test_a_model_override_replaces_the_whole_model() -> None:
    base = make()
    assert base.model.effort.type == "low"
    for model, effort in (
        (choice("claude-opus-4-8"), "high"),
        (choice("claude-opus-4-8", effort="max"), "max"),
        (choice("claude-opus-5-5"), "medium"),
    ):
        resolved = resolve_agent(base, AgentOverrides(model=model))
        assert resolved.model == ModelConfig(id=model.id, effort=Effort(type=effort))
        assert (resolved.id, resolved.version) == (base.id, base.version)


def test_an_effort_that_the_overriding_model_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="does not support"):
        resolve_agent(make(), AgentOverrides(model=choice("claude-opus-4-5", effort="max")))


def test_overrides_clear_and_replace_and_leave_the_rest() -> None:
    base = make(system="s", description="d", tools=(DOCS_TOOLS,), mcp_servers=(DOCS,))
    toolset = AgentToolset(default_config=DEFAULTS)
    cleared = resolve_agent(base, AgentOverrides(system=None, tools=(toolset,), mcp_servers=()))
    assert (cleared.system, cleared.tools, cleared.mcp_servers) == (None, (toolset,), ())
    assert cleared.description == "d"
    assert resolve_agent(base, AgentOverrides(system="")).system is None


def test_overrides_are_checked_together_with_what_they_leave() -> None:
    base = make(tools=(DOCS_TOOLS,), mcp_servers=(DOCS,))
    with pytest.raises(InvalidRequest, match='references server "docs"'):
        resolve_agent(base, AgentOverrides(mcp_servers=()))
    with pytest.raises(InvalidRequest, match="declared but no mcp_toolset"):
        resolve_agent(base, AgentOverrides(tools=()))
