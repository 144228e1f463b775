"""What a session pins when it is made: looked up, checked as a whole, and given to ``decide`` as one command.

Clients make sessions through the gateway, deployments through the automation service; both come here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from efferent.common.control.agents import NoSuchVersion, get_agent
from efferent.common.control.aggregates import Aggregates
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.domain.attachments import VAULTS_MAX, ResourceSpec
from efferent.common.domain.budget import not_budgetable
from efferent.common.domain.commands import CreateSession, EventDraft
from efferent.common.domain.control.agent import AgentOverrides, resolve_agent
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.control.vault import VAULT
from efferent.common.domain.ids import (
    AgentId,
    EnvironmentId,
    SessionId,
    ThreadId,
    WorkspaceId,
    derive,
    is_well_formed,
)
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.resources.agent import AgentSkill, AgentSnapshot
from efferent.common.domain.resources.environment import Environment
from efferent.common.domain.resources.session_resource import PinnedSkill, StoredContent
from efferent.common.domain.usage import BudgetLimit
from efferent.common.model_config import ModelConfigs
from efferent.common.session_resources import ResourceAttacher, SessionPlace
from efferent.common.skills.resolver import ResolvedSkill, SkillResolver, WantedSkill


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """Which agent a session runs, at which version (None: the newest), and what it changes of it."""

    id: str
    version: int | None = None
    overrides: AgentOverrides | None = None


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What somebody asks of a new session; nothing of it is checked yet."""

    agent: AgentChoice
    environment_id: str
    title: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    vault_ids: tuple[str, ...] = ()
    resources: tuple[ResourceSpec, ...] = ()
    budget: BudgetLimit | None = None
    deployment_id: str | None = None
    initial_events: tuple[EventDraft, ...] = ()


class SessionPlanner:
    """Turns what is asked for into the command that makes the session."""

    def __init__(self, aggregates: Aggregates, models: ModelConfigs, attacher: ResourceAttacher) -> None:
        self._aggregates = aggregates
        self._models = models
        self._attacher = attacher
        self._skills = SkillResolver(aggregates)

    async def plan(self, session_id: SessionId, workspace_id: WorkspaceId, spec: SessionSpec) -> CreateSession:
        """The command, with everything that it pins. Raises InvalidRequest, NotFound, LogUnavailable."""
        metadata = merged({}, spec.metadata)
        agent, skills = await self._with_skills(workspace_id, await self._agent(workspace_id, spec.agent))
        if spec.budget is not None:
            check_budgetable(self._models, agent.model.id)
        environment = await self._environment(workspace_id, spec.environment_id)
        await self._check_vaults(workspace_id, spec.vault_ids)
        await self._attacher.check_sources(workspace_id, spec.initial_events)
        place = SessionPlace(session_id, workspace_id, agent, environment)
        attachments = await self._attacher.prepare(place, spec.resources)
        return CreateSession(
            session_id=session_id,
            workspace_id=workspace_id,
            primary_thread_id=ThreadId(derive("sthr_", session_id, "primary")),
            agent=agent,
            environment_id=environment.id,
            environment_config=environment.config,
            title=spec.title,
            metadata=metadata,
            vault_ids=spec.vault_ids,
            deployment_id=spec.deployment_id,
            budget=spec.budget,
            resources=attachments.resources,
            sealed_tokens=attachments.sealed_tokens,
            skills=skills,
            initial_events=spec.initial_events,
        )

    async def _agent(self, workspace_id: WorkspaceId, choice: AgentChoice) -> AgentSnapshot:
        if not is_well_formed("agent_", choice.id):
            raise InvalidRequest("Invalid agent ID.")
        try:
            agent = await get_agent(self._aggregates, workspace_id, AgentId(choice.id), choice.version)
        except NoSuchVersion as error:
            raise NotFound(f"agent.version: {choice.version} not found") from error
        if agent.archived_at is not None:
            raise InvalidRequest(f"agent {choice.id} is archived and cannot be used to create a session")
        return resolve_agent(agent, choice.overrides)

    async def _with_skills(
        self, workspace_id: WorkspaceId, agent: AgentSnapshot
    ) -> tuple[AgentSnapshot, tuple[PinnedSkill, ...]]:
        """The agent with its skills at versions that stay, and what the session needs of them."""
        wanted = [WantedSkill(skill.type, skill.skill_id, skill.version) for skill in agent.skills]
        resolved = await self._skills.resolve(workspace_id, wanted)
        names = [skill.name for skill in resolved]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InvalidRequest(f'skills.{index}: another skill of the agent is named "{name}" too')
        shown = tuple(AgentSkill(type=it.type, skill_id=it.skill_id, version=it.version) for it in resolved)
        return agent.model_copy(update={"skills": shown}), tuple(_pinned(skill) for skill in resolved)

    async def _environment(self, workspace_id: WorkspaceId, environment_id: str) -> Environment:
        if not is_well_formed("env_", environment_id):
            raise InvalidRequest("Invalid environment ID.")
        environment = await ENVIRONMENTS.get(self._aggregates, workspace_id, EnvironmentId(environment_id))
        if environment.archived_at is not None:
            raise InvalidRequest(f"Environment {environment_id} is archived.", code="environment_archived")
        return environment

    async def _check_vaults(self, workspace_id: WorkspaceId, vault_ids: tuple[str, ...]) -> None:
        if len(vault_ids) > VAULTS_MAX:
            raise InvalidRequest(f"vault_ids: at most {VAULTS_MAX} vaults are allowed")
        for index, vault_id in enumerate(vault_ids):
            if not is_well_formed("vlt_", vault_id):
                raise InvalidRequest(f"vault_ids[{index}]: Invalid vault ID.")
            if vault_id in vault_ids[:index]:
                raise InvalidRequest(f"vault_ids[{index}]: duplicate entry for vault {vault_id}")
            vault = (await self._aggregates.load(VAULT, workspace_id, vault_id)).data
            if vault is None:
                raise NotFound(f"vault_ids[{index}]: Vault {vault_id} not found.")
            if vault.archived_at is not None:
                raise InvalidRequest(f"vault_ids[{index}]: vault {vault_id} is archived")


def check_budgetable(models: ModelConfigs, model_id: str) -> None:
    """Raise InvalidRequest when a session with this model cannot have a budget, for want of a list price."""
    if not models.has_list_price(model_id):
        raise not_budgetable(model_id)


def _pinned(skill: ResolvedSkill) -> PinnedSkill:
    return PinnedSkill(
        skill_id=skill.skill_id,
        version=skill.version,
        name=skill.name,
        description=skill.description,
        content=StoredContent(blob_key=skill.blob_key, size_bytes=skill.size_bytes),
    )
