"""What a run says when there is no session, and what becomes of the deployment."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from efferent.common import workspaces
from efferent.common.control.agents import AGENTS
from efferent.common.control.aggregates import Actor
from efferent.common.control.collection import Collection
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.control.vaults import VAULTS
from efferent.common.domain.content import DocumentBlock, FileSource
from efferent.common.domain.control import memory_store as memory_store_rules
from efferent.common.domain.control.agent import AgentFields, UpdateAgent
from efferent.common.domain.control.deployment import DeploymentFields, PauseDeployment, UpdateDeployment
from efferent.common.domain.control.environment import (
    ArchiveEnvironment,
    CloudPatch,
    DeleteEnvironment,
    NetworkPatch,
    SelfHostedPatch,
)
from efferent.common.domain.control.memory_store import (
    MEMORY_STORE,
    ArchiveMemoryStore,
    CreateMemoryStore,
    DeleteMemoryStore,
    MemoryStoreCommand,
)
from efferent.common.domain.control.vault import ArchiveVault, DeleteVault
from efferent.common.domain.ids import MemoryStoreId, WorkspaceId
from efferent.common.domain.resources.agent import (
    AgentSkill,
    AgentToolset,
    McpServer,
    McpToolset,
    PermissionPolicy,
    ToolsetDefaults,
)
from efferent.common.domain.resources.deployment import (
    Deployment,
    ErrorPause,
    FileConfig,
    MemoryStoreConfig,
    MessageEvent,
    PausingError,
    RepositoryConfig,
)
from efferent.common.domain.resources.memory import MemoryStore
from efferent.common.domain.sealed import Sealed
from efferent.common.jetstream import subjects
from services.automation.tests.deployments.deployment_rig import Stage

HOUR_S = 3_600.0
MEMORY_STORES: Final[Collection[MemoryStore, MemoryStoreCommand]] = Collection(
    MEMORY_STORE, memory_store_rules.decide, memory_store_rules.not_found
)

Setup = Callable[[Stage], Awaitable[Deployment]]


async def environment_archived(stage: Stage) -> Deployment:
    made = await stage.make()
    await ENVIRONMENTS.change(stage.aggregates, stage.actor, made.environment_id, ArchiveEnvironment())
    return made


async def environment_deleted(stage: Stage) -> Deployment:
    made = await stage.make()
    await ENVIRONMENTS.change(stage.aggregates, stage.actor, made.environment_id, DeleteEnvironment())
    return made


async def environment_of_another_workspace(stage: Stage) -> Deployment:
    there, here = Actor(WorkspaceId("wrkspc_b")), stage.actor
    stage.actor = there
    environment_id = await stage.environment()
    stage.actor = here
    return await stage.make(environment_id=environment_id)


async def workspace_archived(stage: Stage) -> Deployment:
    made = await workspaces.create_workspace(stage.control, name="b", seed=stage.ids.seed(), clock=stage.clock)
    stage.actor = Actor(made.id)
    deployment = await stage.make()
    await workspaces.archive_workspace(stage.control, made.id, clock=stage.clock)
    return deployment


async def vault_archived(stage: Stage) -> Deployment:
    vault_id = await stage.vault()
    await VAULTS.change(stage.aggregates, stage.actor, vault_id, ArchiveVault())
    return await stage.make(vault_ids=(vault_id,))


async def vault_deleted(stage: Stage) -> Deployment:
    vault_id = await stage.vault()
    await VAULTS.change(stage.aggregates, stage.actor, vault_id, DeleteVault())
    return await stage.make(vault_ids=(vault_id,))


async def file_gone(stage: Stage) -> Deployment:
    return await stage.make(resources=(FileConfig(file_id="file_gone"),))


async def file_of_an_event_gone(stage: Stage) -> Deployment:
    document = DocumentBlock(source=FileSource(file_id="file_gone"))
    return await stage.make(initial_events=(MessageEvent(content=(document,)),))


async def memory_store(stage: Stage, last: ArchiveMemoryStore | DeleteMemoryStore) -> Deployment:
    store_id = MemoryStoreId("memstore_a")
    for command in (CreateMemoryStore(store_id, "notes"), last):
        await MEMORY_STORES.change(stage.aggregates, stage.actor, store_id, command)
    return await stage.make(resources=(MemoryStoreConfig(memory_store_id=store_id),))


async def memory_store_archived(stage: Stage) -> Deployment:
    return await memory_store(stage, ArchiveMemoryStore())


async def memory_store_deleted(stage: Stage) -> Deployment:
    return await memory_store(stage, DeleteMemoryStore())


async def skill_gone(stage: Stage) -> Deployment:
    skill = AgentSkill(type="custom", skill_id="skill_gone", version="1")
    read = AgentToolset(default_config=ToolsetDefaults(permission_policy=PermissionPolicy(type="always_allow")))
    return await stage.make(agent=await stage.agent(skills=(skill,), tools=(read,)))


async def self_hosted(stage: Stage) -> Deployment:
    environment_id = await stage.environment(config=SelfHostedPatch())
    repository = RepositoryConfig(url="https://github.com/a/b")
    return await stage.make(environment_id=environment_id, resources=(repository,))


async def server_blocked(stage: Stage) -> Deployment:
    server = McpServer(name="m", url="https://mcp.example.com/x")
    network = NetworkPatch(limited=True, allowed_hosts=("example.com", "*.example.org"))
    environment_id = await stage.environment(config=CloudPatch(networking=network))
    toolset = McpToolset(
        mcp_server_name="m", default_config=ToolsetDefaults(permission_policy=PermissionPolicy(type="always_ask"))
    )
    agent = await stage.agent(mcp_servers=(server,), tools=(toolset,))
    return await stage.make(agent=agent, environment_id=environment_id)


async def token_unreadable(stage: Stage) -> Deployment:
    """Its key was destroyed: nothing that a deployment should ever come to."""
    sealed = Sealed(key_id="k", nonce="AAAA", ciphertext="AAAA")
    return await stage.make(resources=(RepositoryConfig(url="https://github.com/a/b"),), tokens=sealed)


@pytest.mark.parametrize(
    ("setup", "error_type"),
    [
        (environment_archived, "environment_archived_error"),
        (environment_deleted, "environment_not_found_error"),
        (environment_of_another_workspace, "environment_not_found_error"),
        (workspace_archived, "workspace_archived_error"),
        (vault_archived, "vault_archived_error"),
        (vault_deleted, "vault_not_found_error"),
        (file_gone, "file_not_found_error"),
        (file_of_an_event_gone, "file_not_found_error"),
        (memory_store_archived, "memory_store_archived_error"),
        (memory_store_deleted, "session_resource_not_found_error"),
        (skill_gone, "skill_not_found_error"),
        (self_hosted, "self_hosted_resources_unsupported_error"),
        (server_blocked, "mcp_egress_blocked_error"),
        (token_unreadable, "unknown_error"),
    ],
)
async def test_a_deployment_that_is_at_fault_is_paused_with_the_error_of_its_run(
    stage: Stage, setup: Setup, error_type: Any
) -> None:
    deployment = await setup(stage)
    async with stage.replica():
        stage.advance(HOUR_S + 540)
        (run,) = await stage.until(lambda runs: len(runs) == 1)
    assert run.session_id is None
    assert run.error is not None
    assert run.error.type == error_type
    assert run.error.message
    paused = await stage.deployment(deployment.id)
    assert paused.paused_reason == ErrorPause(error=PausingError(type=error_type))
    assert await stage.session_of(run) is None
    async with stage.replica():  # and rests from then on
        stage.advance(HOUR_S)
        assert await stage.replicas[0].deployments.scheduler.start_due() == 0


async def test_a_run_looks_at_the_version_of_the_agent_that_its_deployment_pins(stage: Stage) -> None:
    """The newest version has what the environment blocks and skills that are gone; the pinned one has neither."""
    network = NetworkPatch(limited=True)
    environment_id = await stage.environment(config=CloudPatch(networking=network))
    agent = await stage.agent()
    deployment = await stage.make(agent=agent, environment_id=environment_id)
    asks = ToolsetDefaults(permission_policy=PermissionPolicy(type="always_ask"))
    newer = AgentFields(
        mcp_servers=(McpServer(name="m", url="https://mcp.example.com/x"),),
        tools=(McpToolset(mcp_server_name="m", default_config=asks),),
        skills=(AgentSkill(type="custom", skill_id="skill_gone", version="1"),),
    )
    await AGENTS.change(stage.aggregates, stage.actor, agent.id, UpdateAgent(newer))
    async with stage.replica():
        stage.advance(HOUR_S + 540)
        (run,) = await stage.until(lambda runs: len(runs) == 1)
    assert run.error is None
    session = await stage.session_of(run)
    assert session is not None
    assert session.agent.version == 1
    assert (await stage.deployment(deployment.id)).status == "active"


async def test_a_session_that_is_refused_does_not_pause_the_schedule(stage: Stage) -> None:
    vault_id = await stage.vault()
    deployment = await stage.make(vault_ids=(vault_id, vault_id))
    async with stage.replica():
        stage.advance(HOUR_S + 540)
        await stage.until(lambda runs: len(runs) == 1)
        stage.advance(HOUR_S)
        runs = await stage.until(lambda runs: len(runs) == 2)
    assert {run.error.type for run in runs if run.error is not None} == {"session_creation_rejected_error"}
    assert (await stage.deployment(deployment.id)).status == "active"


async def test_archiving_an_agent_archives_its_deployments_and_no_others(stage: Stage) -> None:
    agent = await stage.agent()
    scheduled = await stage.make(agent=agent)
    manual = await stage.make(agent=agent, schedule=None)
    other = await stage.make()
    async with stage.replica():
        await stage.archive_agent(agent)
        for deployment in (scheduled, manual):
            archived = await stage.until_deployment(deployment.id, lambda found: found.archived_at is not None)
            assert archived.status == "active"
    assert (await stage.deployment(other.id)).archived_at is None


async def test_a_deployment_made_while_its_agent_was_archived_is_archived_too(stage: Stage) -> None:
    """Whoever made it had looked at the agent before, and the agent's cascade was over."""
    agent, other = await stage.agent(), await stage.agent()
    async with stage.replica():
        before = await stage.make(agent=agent, schedule=None)
        moved = await stage.make(agent=other, schedule=None)
        await stage.archive_agent(agent)
        await stage.until_deployment(before.id, lambda found: found.archived_at is not None)
        late = await stage.make(agent=agent, schedule=None)
        await stage.change(moved.id, UpdateDeployment(DeploymentFields(agent=agent)))
        for deployment in (late, moved):
            await stage.until_deployment(deployment.id, lambda found: found.archived_at is not None)


async def test_a_slot_of_an_archived_agent_archives_the_deployment(stage: Stage) -> None:
    """The deployment was made while the agent was being archived: the cascade did not see it."""
    agent = await stage.agent()
    await stage.archive_agent(agent)
    replica = stage.build()
    await replica.subscriptions.declare()
    deployment = await stage.make(agent=agent)
    await replica.deployments.scheduler.catch_up()
    stage.advance(HOUR_S + 540)
    assert await replica.deployments.scheduler.start_due() == 1
    (begun,) = await stage.runs()
    raw = await stage.control.last(subjects.control("deployment_run", begun.id))
    assert raw is not None
    await replica.deployments.perform(raw)
    (run,) = await stage.runs()
    assert run.error is not None
    assert run.error.type == "agent_archived_error"
    assert (await stage.deployment(deployment.id)).archived_at is not None


async def test_the_error_of_a_broken_off_run_is_told_once_it_is_done_again(stage: Stage) -> None:
    """The deployment was paused by this very run, which then could not say so."""
    deployment = await environment_archived(stage)
    replica = stage.build()
    await replica.deployments.scheduler.catch_up()
    stage.advance(HOUR_S + 540)
    await replica.deployments.scheduler.start_due()
    (begun,) = await stage.runs()
    await stage.change(
        deployment.id, PauseDeployment(ErrorPause(error=PausingError(type="environment_archived_error")))
    )
    async with stage.replica():
        (run,) = await stage.until(lambda runs: len(runs) == 1)
    assert run.id == begun.id
    assert run.error is not None
    assert run.error.type == "environment_archived_error"
