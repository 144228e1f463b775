"""Replicas of the deployments' reactor on a real log, with a clock that stands still, and what they did."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from efferent.automation.deployments.reactor import Deployments
from efferent.automation.subscriptions import Subscriptions
from efferent.common.control.agents import AGENTS
from efferent.common.control.deployments import DEPLOYMENT_RUNS, DEPLOYMENTS
from efferent.common.control.environments import ENVIRONMENTS
from efferent.common.control.vaults import VAULTS
from efferent.common.domain.content import TextBlock
from efferent.common.domain.control.agent import AgentFields, ArchiveAgent, CreateAgent
from efferent.common.domain.control.deployment import (
    CreateDeployment,
    DeploymentCommand,
    DeploymentFields,
    UpdateDeployment,
)
from efferent.common.domain.control.deployment_run import session_of_run
from efferent.common.domain.control.environment import CreateEnvironment
from efferent.common.domain.control.model_choice import ModelChoice
from efferent.common.domain.control.vault import CreateVault
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import (
    AgentId,
    DeploymentId,
    EnvironmentId,
    SessionId,
    VaultId,
    from_seed,
)
from efferent.common.domain.model_catalog import traits_of
from efferent.common.domain.resources.deployment import (
    AgentReference,
    CronSchedule,
    Deployment,
    MessageEvent,
    RepositoryConfig,
)
from efferent.common.domain.resources.deployment_run import DeploymentRun
from efferent.common.domain.state import SessionState
from efferent.common.jetstream import subjects
from efferent.common.jetstream.connection import Message
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.ports import ControlLog, SessionLog
from efferent.common.secrets.box import SecretBox
from services.automation.tests.log_stage import SECRETS, WITHIN_S, LogStage

HELLO: Final = MessageEvent(content=(TextBlock(text="hello"),))
HOURLY: Final = CronSchedule(expression="0 * * * *", timezone="UTC")


@dataclass
class Replica:
    """One running reactor with its subscriptions."""

    deployments: Deployments
    subscriptions: Subscriptions

    async def end(self) -> None:
        """Stop it as a drain would."""
        await self.subscriptions.drain()
        await self.deployments.stop()


class Stage(LogStage):
    """A log, a clock, and those who work with them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.keys = JetStreamDataKeys(self.connection)
        self.box = SecretBox(self.keys, SECRETS.root_keys(self.folder))
        self.replicas: list[Replica] = []
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Begin to hear of changes."""
        await self.connection.subscribe(subjects.live("control.>"), self._hear)

    def _hear(self, _message: Message) -> None:
        self._changed.set()

    def build(self, *, control: ControlLog | None = None, sessions: SessionLog | None = None) -> Replica:
        """A replica, perhaps with a log that gets in its way, not started."""
        desk = self.desk(control=control, sessions=sessions, run_ack_wait_s=1.0)
        deployments = Deployments(desk)
        return Replica(deployments, Subscriptions(self.connection, self.nats, deployments.subscriptions()))

    @asynccontextmanager
    async def replica(self, **logs: Any) -> AsyncIterator[Replica]:
        """A running replica."""
        replica = self.build(**logs)
        await replica.subscriptions.declare()
        await replica.deployments.start()
        await replica.subscriptions.start()
        self.replicas.append(replica)
        try:
            yield replica
        finally:
            self.replicas.remove(replica)
            await replica.end()

    def advance(self, seconds: float) -> None:
        """Move the clock and let everybody look at it."""
        self.clock.advance(seconds)
        for replica in self.replicas:
            replica.deployments.scheduler.wake()

    async def until(self, enough: Callable[[list[DeploymentRun]], bool]) -> list[DeploymentRun]:
        """Wait until the finished runs are as wanted; returns them."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._changed.clear()
                runs = [run for run in await self.runs() if run.is_finished]
                if enough(runs):
                    return runs
                await self._changed.wait()

    async def until_deployment(self, deployment_id: str, enough: Callable[[Deployment], bool]) -> Deployment:
        """Wait until a deployment is as wanted."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._changed.clear()
                deployment = await self.deployment(deployment_id)
                if enough(deployment):
                    return deployment
                await self._changed.wait()

    async def until_no_keys(self, owner: str) -> None:
        """Wait until nothing can be opened any more that was sealed for the owner; no record tells of that."""
        async with asyncio.timeout(WITHIN_S):
            while await self.keys.ids(owner):  # noqa: ASYNC110 - keys are not republished
                await asyncio.sleep(0.02)

    async def runs(self) -> list[DeploymentRun]:
        """All runs at their newest state, those that were only begun too."""
        found: dict[str, DeploymentRun] = {}
        async for raw in self.control.read(subjects.control_fence("deployment_run")):
            record = DEPLOYMENT_RUNS.kind.decode(raw.payload)
            found.pop(record.data.id, None)
            if not DEPLOYMENT_RUNS.kind.is_deleted(record):
                found[record.data.id] = record.data
        return list(found.values())

    async def session(self, session_id: SessionId) -> SessionState | None:
        """The session; None when there is none. Fails when it was made twice."""
        records = [stored.record async for stored in self.sessions.read(session_id)]
        return fold(None, records) if records else None

    async def session_of(self, run: DeploymentRun) -> SessionState | None:
        """The session that a run would make, whether the run says so or not."""
        return await self.session(session_of_run(run.id))

    async def session_count(self) -> int:
        """How many sessions there are."""
        answer = await self.connection.request(
            "$JS.API.STREAM.INFO.SESSIONS", b'{"subjects_filter":"session.*.in"}', timeout_s=10
        )
        return len(orjson.loads(answer.data)["state"].get("subjects") or {})

    # --- what tests set up -------------------------------------------------------------------------------------------

    async def agent(self, **fields: Any) -> AgentReference:
        """An agent of the offline model."""
        agent_id = AgentId(from_seed("agent_", self.ids.seed()))
        command = CreateAgent(
            agent_id, "a", ModelChoice(traits_of("offline/demo"), "offline/demo"), AgentFields(**fields)
        )
        await AGENTS.change(self.aggregates, self.actor, agent_id, command)
        return AgentReference(id=agent_id, version=1)

    async def archive_agent(self, agent: AgentReference) -> None:
        """Archive it."""
        await AGENTS.change(self.aggregates, self.actor, agent.id, ArchiveAgent())

    async def environment(self, **fields: Any) -> EnvironmentId:
        """An environment."""
        environment_id = EnvironmentId(from_seed("env_", self.ids.seed()))
        command = CreateEnvironment(id=environment_id, name=environment_id, **fields)
        await ENVIRONMENTS.change(self.aggregates, self.actor, environment_id, command)
        return environment_id

    async def vault(self) -> VaultId:
        """A vault."""
        vault_id = VaultId(from_seed("vlt_", self.ids.seed()))
        await VAULTS.change(self.aggregates, self.actor, vault_id, CreateVault(vault_id, "v"))
        return vault_id

    async def make(
        self,
        *,
        agent: AgentReference | None = None,
        environment_id: EnvironmentId | None = None,
        schedule: CronSchedule | None = HOURLY,
        **fields: Any,
    ) -> Deployment:
        """A deployment, hourly unless said otherwise."""
        deployment_id = DeploymentId(from_seed("depl_", self.ids.seed()))
        command = CreateDeployment(
            id=deployment_id,
            name="nightly",
            agent=agent or await self.agent(),
            environment_id=environment_id or await self.environment(),
            initial_events=fields.pop("initial_events", (HELLO,)),
            fields=DeploymentFields(schedule=schedule, **fields),
        )
        return await DEPLOYMENTS.change(self.aggregates, self.actor, deployment_id, command)

    async def with_token(self, token: str, **fields: Any) -> Deployment:
        """A deployment with a repository whose token is sealed for it."""
        made = await self.make(**fields)
        return await self.change(made.id, await self.sealing(made.id, token))

    async def sealing(self, deployment_id: str, token: str) -> UpdateDeployment:
        """The command that gives a deployment a repository with this token."""
        sealed = await self.box.seal(deployment_id, {"0": token})
        repository = RepositoryConfig(url="https://github.com/a/b")
        return UpdateDeployment(DeploymentFields(resources=(repository,), tokens=sealed))

    async def deployment(self, deployment_id: str) -> Deployment:
        """The deployment as it is now."""
        return await DEPLOYMENTS.get(self.aggregates, self.actor.workspace_id, deployment_id)

    async def change(self, deployment_id: str, command: DeploymentCommand) -> Deployment:
        """Carry out a command on it."""
        return await DEPLOYMENTS.change(self.aggregates, self.actor, deployment_id, command)
