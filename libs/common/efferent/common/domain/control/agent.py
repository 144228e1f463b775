"""Agents: commands, and what they decide. An agent's versions are its aggregate's history."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.agent_rules import check_tools
from efferent.common.domain.control.agent_skills import check_skills, check_skills_usable
from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.control.model_choice import ModelChoice, resolve_model
from efferent.common.domain.ids import AgentId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.agent import (
    Agent,
    AgentSkill,
    AgentSnapshot,
    ExecutionIdentity,
    Identity,
    McpServer,
    Tool,
)
from efferent.common.domain.timestamp import Timestamp

NAME_LENGTH_MAX: Final = 256
DESCRIPTION_LENGTH_MAX: Final = 2_048
SYSTEM_LENGTH_MAX: Final = 100_000
ROLE_ARN_LENGTH_MAX: Final = 2_048

ARCHIVED_TEXT: Final = "Cannot modify archived agent"
STALE_TEXT: Final = "Concurrent modification detected. Please fetch the latest version and retry."

AGENT: Final[Kind[Agent]] = Kind(
    name="agent",
    prefix="agent_",
    record=ControlRecord[Agent],
    noun="agent",
    deeds=("created", "updated", "archived"),
    version=lambda agent: agent.version,
    keeps_versions=True,
    says_shape=True,
)


@dataclass(frozen=True, slots=True)
class AgentFields:
    """Fields that a request gives an agent; what is not mentioned stays."""

    name: Given[str] = UNSET
    model: Given[ModelChoice] = UNSET
    description: Given[str | None] = UNSET
    system: Given[str | None] = UNSET
    tools: Given[tuple[Tool, ...]] = UNSET
    mcp_servers: Given[tuple[McpServer, ...]] = UNSET
    skills: Given[tuple[AgentSkill, ...]] = UNSET
    execution_identity: Given[Identity] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)
    """A patch: null removes a key."""


@dataclass(frozen=True, slots=True)
class CreateAgent:
    """Make version 1."""

    id: AgentId
    name: str
    model: ModelChoice
    fields: AgentFields


@dataclass(frozen=True, slots=True)
class UpdateAgent:
    """Make the next version; ``version`` is the one that the client believes to be the newest."""

    fields: AgentFields
    version: int | None = None


@dataclass(frozen=True, slots=True)
class ArchiveAgent:
    """Make the agent read-only."""


@dataclass(frozen=True, slots=True)
class AgentOverrides:
    """What one session changes of an agent: an omitted field inherits, a given one replaces the whole."""

    model: Given[ModelChoice] = UNSET
    system: Given[str | None] = UNSET
    tools: Given[tuple[Tool, ...]] = UNSET
    mcp_servers: Given[tuple[McpServer, ...]] = UNSET
    skills: Given[tuple[AgentSkill, ...]] = UNSET


AgentCommand = CreateAgent | UpdateAgent | ArchiveAgent


def not_found() -> NotFound:
    """The refusal when there is no such agent."""
    return NotFound("Agent not found.")


def decide(current: Agent | None, command: AgentCommand, now: Timestamp) -> Change[Agent] | None:
    """The next state of the agent; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    match command:
        case CreateAgent():
            if current is not None:
                raise Conflict(f"agent {command.id} exists already")
            return _create(command, now)
        case UpdateAgent():
            return _update(_existing(current), command, now)
        case ArchiveAgent():
            agent = _existing(current)
            if agent.archived_at is not None:
                return None
            now = max(now, agent.updated_at)
            return Change("archived", agent.model_copy(update={"archived_at": now, "updated_at": now}))


def resolve_agent(agent: AgentSnapshot, overrides: AgentOverrides | None = None) -> AgentSnapshot:
    """The configuration that a session pins: the agent's with the session's overrides, checked as a whole.

    A model override replaces the whole model: the agent's effort is not carried over. Raises InvalidRequest.
    """
    base = AgentSnapshot.model_construct(**{name: getattr(agent, name) for name in AgentSnapshot.model_fields})
    if overrides is None:
        check_skills_usable(base)
        return base
    changes: dict[str, object] = {}
    if overrides.model is not UNSET:
        changes["model"] = resolve_model(overrides.model)
    if overrides.system is not UNSET:
        changes["system"] = overrides.system or None
    if overrides.tools is not UNSET:
        changes["tools"] = overrides.tools
    if overrides.mcp_servers is not UNSET:
        changes["mcp_servers"] = overrides.mcp_servers
    if overrides.skills is not UNSET:
        changes["skills"] = overrides.skills
    effective = base.model_copy(update=changes)
    check_tools(effective.tools, effective.mcp_servers)
    check_skills(effective)
    check_skills_usable(effective)
    return effective


def _create(command: CreateAgent, now: Timestamp) -> Change[Agent]:
    blank = Agent(
        id=command.id,
        version=1,
        name=command.name,
        model=resolve_model(command.model),
        created_at=now,
        updated_at=now,
    )
    return Change("created", _checked(_with_fields(blank, command.fields)))


def _update(agent: Agent, command: UpdateAgent, now: Timestamp) -> Change[Agent] | None:
    if agent.archived_at is not None:
        raise InvalidRequest(ARCHIVED_TEXT)
    if command.version is not None and command.version != agent.version:
        raise Conflict(STALE_TEXT)
    changed = _checked(_with_fields(agent, command.fields))
    if changed == agent:
        return None
    update = {"version": agent.version + 1, "updated_at": max(now, agent.updated_at)}
    return Change("updated", changed.model_copy(update=update))


def _with_fields(agent: Agent, fields: AgentFields) -> Agent:
    changes: dict[str, object] = {"metadata": merged(agent.metadata, fields.metadata)}
    if fields.name is not UNSET:
        changes["name"] = fields.name
    if fields.model is not UNSET:
        changes["model"] = resolve_model(fields.model, previous=agent.model)
    if fields.description is not UNSET:
        changes["description"] = fields.description or None
    if fields.system is not UNSET:
        changes["system"] = fields.system or None
    if fields.tools is not UNSET:
        changes["tools"] = fields.tools
    if fields.mcp_servers is not UNSET:
        changes["mcp_servers"] = fields.mcp_servers
    if fields.skills is not UNSET:
        changes["skills"] = fields.skills
    if fields.execution_identity is not UNSET:
        changes["execution_identity"] = fields.execution_identity
    return agent.model_copy(update=changes)


def _checked(agent: Agent) -> Agent:
    check_tools(agent.tools, agent.mcp_servers)
    check_skills(agent)
    return agent


def _existing(current: Agent | None) -> Agent:
    if current is None:
        raise not_found()
    return current


DEFAULT_IDENTITY: Final[Identity] = ExecutionIdentity()
