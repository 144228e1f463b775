"""What is wrong with a deployment at the moment of a run, in the words that runs have for it.

Asked before the session is planned: the planner's refusals are for people, these are for programs.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from efferent.common import workspaces
from efferent.common.control.agents import get_agent
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.control.files import FILES
from efferent.common.control.kinds import KINDS
from efferent.common.control.vaults import VAULTS
from efferent.common.domain.file_sources import file_ids
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.agent import Agent, AgentSnapshot
from efferent.common.domain.resources.deployment import (
    Deployment,
    FileConfig,
    InitialEvent,
    MemoryStoreConfig,
    MessageEvent,
    RepositoryConfig,
    ResourceConfig,
)
from efferent.common.domain.resources.deployment_run import RunError, RunErrorType
from efferent.common.domain.resources.environment import Environment, LimitedNetwork, SelfHostedConfig
from efferent.common.ports import ControlLog
from efferent.common.skills.resolver import SkillResolver, WantedSkill


async def trouble_of(
    aggregates: Aggregates, control_log: ControlLog, workspace_id: WorkspaceId, deployment: Deployment
) -> RunError | None:
    """The first thing that keeps the deployment from making a session; None when nothing does.

    Raises LogUnavailable.
    """
    workspace = await workspaces.load_workspace(control_log, workspace_id)
    if workspace is not None and workspace.archived_at is not None:
        return _error("workspace_archived_error", f"Workspace {workspace_id} is archived.")
    agent = await _pinned(aggregates, workspace_id, deployment)
    if agent is None:
        return _error("agent_archived_error", f"Agent {deployment.agent.id} is archived.")
    environment = (await aggregates.load(ENVIRONMENTS.kind, workspace_id, deployment.environment_id)).data
    if environment is None:
        return _error("environment_not_found_error", f"Environment {deployment.environment_id} does not exist.")
    if environment.archived_at is not None:
        return _error("environment_archived_error", f"Environment {deployment.environment_id} is archived.")
    for vault_id in deployment.vault_ids:
        vault = (await aggregates.load(VAULTS.kind, workspace_id, vault_id)).data
        if vault is None:
            return _error("vault_not_found_error", f"Vault {vault_id} does not exist.")
        if vault.archived_at is not None:
            return _error("vault_archived_error", f"Vault {vault_id} is archived.")
    return (
        await _skill_trouble(aggregates, workspace_id, agent)
        or await resource_trouble(aggregates, workspace_id, deployment.resources)
        or await _event_trouble(aggregates, workspace_id, deployment.initial_events)
        or _self_hosted_trouble(deployment, environment)
        or blocked_server(agent, environment)
    )


async def _pinned(aggregates: Aggregates, workspace_id: WorkspaceId, deployment: Deployment) -> Agent | None:
    """The agent at the deployment's version; None when it is gone or archived."""
    try:
        agent = await get_agent(aggregates, workspace_id, deployment.agent.id, deployment.agent.version)
    except NotFound:
        return None
    return agent if agent.archived_at is None else None


async def _skill_trouble(aggregates: Aggregates, workspace_id: WorkspaceId, agent: AgentSnapshot) -> RunError | None:
    wanted = [WantedSkill(skill.type, skill.skill_id, skill.version) for skill in agent.skills]
    try:
        await SkillResolver(aggregates).resolve(workspace_id, wanted)
    except InvalidRequest as refusal:
        return _error("skill_not_found_error", refusal.message)
    return None


async def resource_trouble(
    aggregates: Aggregates, workspace_id: WorkspaceId, resources: Sequence[ResourceConfig]
) -> RunError | None:
    """The first resource that is not there, or not any more; None when all are. Raises LogUnavailable."""
    for resource in resources:
        match resource:
            case FileConfig(file_id=file_id):
                if (await aggregates.load(FILES.kind, workspace_id, file_id)).data is None:
                    return _error("file_not_found_error", f"File {file_id} does not exist.")
            case MemoryStoreConfig(memory_store_id=store_id):
                store = (await aggregates.load(KINDS["memory_store"], workspace_id, store_id)).data
                if store is None:
                    return _error("session_resource_not_found_error", f"Memory store {store_id} does not exist.")
                if store.archived_at is not None:
                    return _error("memory_store_archived_error", f"Memory store {store_id} is archived.")
            case RepositoryConfig():
                pass
    return None


async def _event_trouble(
    aggregates: Aggregates, workspace_id: WorkspaceId, events: Sequence[InitialEvent]
) -> RunError | None:
    for event in events:
        for file_id in dict.fromkeys(file_ids(event.content) if isinstance(event, MessageEvent) else ()):
            if (await aggregates.load(FILES.kind, workspace_id, file_id)).data is None:
                return _error("file_not_found_error", f"File {file_id} does not exist.")
    return None


def _self_hosted_trouble(deployment: Deployment, environment: Environment) -> RunError | None:
    mounted = [resource for resource in deployment.resources if not isinstance(resource, MemoryStoreConfig)]
    if mounted and isinstance(environment.config, SelfHostedConfig):
        return _error(
            "self_hosted_resources_unsupported_error",
            f"Environment {environment.id} is self-hosted and cannot mount the deployment's resources.",
        )
    return None


def blocked_server(agent: AgentSnapshot, environment: Environment) -> RunError | None:
    """The error of an agent one of whose MCP servers the environment's network does not let through."""
    network = getattr(environment.config, "networking", None)
    if not isinstance(network, LimitedNetwork) or network.allow_mcp_servers:
        return None
    for server in agent.mcp_servers:
        host = urlsplit(server.url).hostname or ""
        if not any(_covers(allowed, host) for allowed in network.allowed_hosts):
            return _error(
                "mcp_egress_blocked_error",
                f"The host {host} of MCP server {server.name} is blocked by environment {environment.id}.",
            )
    return None


def _covers(allowed: str, host: str) -> bool:
    allowed, host = allowed.lower(), host.lower()
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _error(type: RunErrorType, message: str) -> RunError:
    return RunError(type=type, message=message)
