"""Deployments as a part of the automation: schedules, runs that were begun, what follows an archiving."""

import contextlib
from collections.abc import Sequence
from typing import Final

from efferent.automation.deployments.scheduler import Scheduler
from efferent.automation.reactor import Desk, Later, RecordSubscription
from efferent.common.control.aggregates import Actor
from efferent.common.control.deployments import DEPLOYMENTS
from efferent.common.deployments.firing import Firing, FiringTools
from efferent.common.domain import timestamp
from efferent.common.domain.control.agent import AGENT
from efferent.common.domain.control.deployment import DEPLOYMENT, ArchiveDeployment
from efferent.common.domain.control.deployment_run import DEPLOYMENT_RUN
from efferent.common.domain.ids import DeploymentId, WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.deployment_run import ManualTrigger
from efferent.common.files.store import FileStore
from efferent.common.jetstream import subjects
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.ports import RawRecord
from efferent.common.secrets.box import SecretBox
from efferent.common.session_resources import ResourceAttacher

RUNS_AT_ONCE_MAX: Final = 32
RUNS_UNANSWERED_MAX: Final = 5_000
MANUAL_WAIT_S: Final = 10.0
"""A gateway performs the run that it was asked for; only when it could not, it is done here."""


class Deployments:
    """See the protocol ``Reactor``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        settings = desk.settings
        self._box = SecretBox(JetStreamDataKeys(desk.connection), settings.secrets.root_keys(settings.machine.data_dir))
        files = FileStore(desk.aggregates, desk.blobs, desk.clock, desk.ids)
        self._firing = Firing(
            FiringTools(
                aggregates=desk.aggregates,
                control_log=desk.control,
                session_log=desk.sessions,
                models=desk.models,
                attacher=ResourceAttacher(desk.aggregates, files, self._box),
                box=self._box,
                clock=desk.clock,
                ids=desk.ids,
            )
        )
        self.scheduler = Scheduler(desk.connection, desk.control, desk.clock, self._firing)

    def subscriptions(self) -> Sequence[RecordSubscription]:
        """Runs, to perform those that were begun; what was archived: agents take their deployments along, and
        deployments their tokens.
        """
        runs = DurableSpec(
            subjects.CONTROL,
            "automation-deployment-runs",
            (subjects.control_fence(DEPLOYMENT_RUN.subject_family),),
            ack_wait_s=self._desk.settings.run_ack_wait_s,
            ack_pending_max=RUNS_UNANSWERED_MAX,
        )
        agents = DurableSpec(
            subjects.CONTROL,
            "automation-deployments-of-agents",
            (subjects.control_fence(AGENT.subject_family),),
            ack_wait_s=self._desk.settings.run_ack_wait_s,
        )
        deployments = DurableSpec(
            subjects.CONTROL,
            "automation-archived-deployments",
            (subjects.control_fence(DEPLOYMENT.subject_family),),
            ack_wait_s=self._desk.settings.run_ack_wait_s,
        )
        return (
            RecordSubscription(runs, self.perform, in_flight_max=RUNS_AT_ONCE_MAX),
            RecordSubscription(agents, self.follow_agent, in_flight_max=4),
            RecordSubscription(deployments, self.follow_deployment, in_flight_max=4),
        )

    async def start(self) -> None:
        """Read the deployments and begin to keep their schedules. Raises WrongRootKey, LogUnavailable."""
        await self._box.check()
        await self.scheduler.start()

    async def drain(self) -> None:
        """Start no more runs."""
        await self.scheduler.stop()

    async def stop(self) -> None:
        """Nothing is open."""
        await self.scheduler.stop()

    async def perform(self, raw: RawRecord) -> None:
        """Perform a run that was begun. Raises Later, LogUnavailable, UnreadableRecord."""
        record = DEPLOYMENT_RUN.decode(raw.payload)
        if record.type != f"{DEPLOYMENT_RUN.name}.started":
            return
        run = record.data
        if isinstance(run.trigger_context, ManualTrigger):
            now = timestamp.from_epoch_us(self._desk.clock.now_us())
            left_s = MANUAL_WAIT_S - timestamp.seconds_between(record.at, now)
            if left_s > 0:
                raise Later(left_s, "the gateway that was asked for the run performs it")
        await self._firing.perform(record.workspace_id, run.id)

    async def follow_agent(self, raw: RawRecord) -> None:
        """Archive the deployments of an agent that was archived or is gone. Raises LogUnavailable, UnreadableRecord."""
        record = AGENT.decode(raw.payload)
        if record.type not in (f"{AGENT.name}.archived", f"{AGENT.name}.deleted"):
            return
        await self.scheduler.catch_up()
        for workspace_id, deployment_id in self.scheduler.timetable.of_agent(record.data.id):
            await self._archive(workspace_id, deployment_id)

    async def follow_deployment(self, raw: RawRecord) -> None:
        """Destroy the keys of an archived deployment's tokens, whoever archived it; archive one whose agent is.

        The agent was archived while the deployment was made or given to it: its cascade cannot have seen that.
        Raises LogUnavailable, UnreadableRecord.
        """
        record = DEPLOYMENT.decode(raw.payload)
        workspace_id, deployment = record.workspace_id, record.data
        if deployment.archived_at is not None:
            if deployment.tokens is not None:
                await self._box.shred(deployment.id)
            return
        aggregates = self._desk.aggregates
        newest = (await aggregates.load(DEPLOYMENT, workspace_id, deployment.id)).data
        if newest is None or newest.archived_at is not None:
            return
        agent = (await aggregates.load(AGENT, workspace_id, newest.agent.id)).data
        if agent is None or agent.archived_at is not None:
            await self._archive(workspace_id, deployment.id)

    async def _archive(self, workspace_id: WorkspaceId, deployment_id: DeploymentId) -> None:
        with contextlib.suppress(NotFound):
            await DEPLOYMENTS.change(self._desk.aggregates, Actor(workspace_id), deployment_id, ArchiveDeployment())
