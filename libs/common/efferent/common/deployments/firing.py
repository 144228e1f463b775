"""One run of a deployment, from its start to its session or its error; safe to repeat at any point.

A run is begun by one record (``deployment_run.started``), which only one writer can append: its id derives from the
deployment and the slot. The session's id derives from the run's, and a session's first record is fenced, so however
often and by however many a run is performed, there is one session. The run is finished by one more record.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from efferent.common import session_writing
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.deployments import DEPLOYMENT_RUNS, DEPLOYMENTS
from efferent.common.control.kinds import subject_of
from efferent.common.deployments.spec import spec_of
from efferent.common.deployments.troubles import trouble_of
from efferent.common.domain import timestamp
from efferent.common.domain.control import deployment_run
from efferent.common.domain.control.deployment import ArchiveDeployment, PauseDeployment
from efferent.common.domain.control.deployment_run import (
    DEPLOYMENT_RUN,
    AbandonRun,
    FinishRun,
    StartRun,
    session_of_run,
)
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.ids import DeploymentRunId, SessionId, WorkspaceId
from efferent.common.domain.refusals import Refused
from efferent.common.domain.resources.deployment import (
    Deployment,
    ErrorPause,
    ManualPause,
    PausingError,
    PausingErrorType,
)
from efferent.common.domain.resources.deployment_run import DeploymentRun, RunError, ScheduleTrigger
from efferent.common.model_config import ModelConfigs
from efferent.common.ports import BlobsUnavailable, Clock, ControlLog, IdSource, LogConflict, LogError, SessionLog
from efferent.common.secrets.box import SecretBox
from efferent.common.secrets.envelope import CannotOpen
from efferent.common.session_creation import SessionPlanner
from efferent.common.session_resources import ResourceAttacher

_PAUSING: Final = frozenset(get_args(PausingErrorType))
UNREADABLE_TEXT: Final = "The repository tokens of the deployment cannot be read; give them again with an update."
UNKNOWN_TEXT: Final = "An unexpected error kept the session from being created."

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FiringTools:
    """What firing works with."""

    aggregates: Aggregates
    control_log: ControlLog
    session_log: SessionLog
    models: ModelConfigs
    attacher: ResourceAttacher
    box: SecretBox
    clock: Clock
    ids: IdSource


class Firing:
    """Begins and performs runs."""

    def __init__(self, tools: FiringTools) -> None:
        self._tools = tools
        self._planner = SessionPlanner(tools.aggregates, tools.models, tools.attacher)

    async def start(self, actor: Actor, command: StartRun) -> bool:
        """Begin a run; False when it was begun before. Raises LogUnavailable."""
        now = timestamp.from_epoch_us(self._tools.clock.now_us())
        change = deployment_run.decide(None, command, now)
        if change is None:
            raise RuntimeError("nothing was decided about nothing")
        payload = DEPLOYMENT_RUN.encode(change, at=now, workspace_id=actor.workspace_id, actor=actor.key_id)
        subject = subject_of(DEPLOYMENT_RUN, actor.workspace_id, command.id)
        try:
            await self._tools.control_log.append(subject, payload, expected=0)
        except LogConflict:
            return False
        return True

    async def perform(self, workspace_id: WorkspaceId, run_id: DeploymentRunId) -> DeploymentRun | None:
        """Finish a run that was begun; None when there is nothing to run any more. Raises LogUnavailable, LogConflict.

        A scheduled run whose deployment is itself at fault pauses it, before the run says so.
        """
        run = (await self._tools.aggregates.load(DEPLOYMENT_RUN, workspace_id, run_id)).data
        if run is None or run.is_finished:
            return run
        session_id = session_of_run(run_id)
        if await self._was_made(session_id):  # by somebody who could not say so any more
            return await self._change(workspace_id, run_id, FinishRun(session_id))
        found = await self._with_tokens(workspace_id, run)
        if found is None:
            await self._change(workspace_id, run_id, AbandonRun())
            return None
        deployment, tokens = found
        outcome = await self._session(workspace_id, session_id, deployment, tokens)
        if isinstance(outcome, RunError) and await self._was_made(session_id):
            outcome = session_id  # somebody else performs the same run, and looked while nothing was wrong
        if isinstance(outcome, RunError) and deployment.resources:  # what was made for the session must not outlive it
            await self._tools.attacher.drop_all(workspace_id, session_id)
        if isinstance(outcome, RunError) and isinstance(run.trigger_context, ScheduleTrigger):
            await self._suspend(workspace_id, deployment, outcome)
        return await self._change(workspace_id, run_id, FinishRun(outcome))

    async def _with_tokens(
        self, workspace_id: WorkspaceId, run: DeploymentRun
    ) -> tuple[Deployment, Mapping[str, str] | None] | None:
        """The run's deployment and its tokens (None: unreadable); None when there is nothing to run any more.

        Tokens whose key is gone were replaced, or their deployment archived, between two reads: looked at again.
        """
        unreadable: Deployment | None = None
        while True:
            deployment = (await self._tools.aggregates.load(DEPLOYMENTS.kind, workspace_id, run.deployment_id)).data
            if deployment is None or _is_over(deployment, run):
                return None
            sealed = deployment.tokens
            if sealed is None:
                return deployment, {}
            if unreadable is not None and unreadable.tokens == sealed:
                return deployment, None
            try:
                return deployment, await self._tools.box.open(deployment.id, sealed)
            except CannotOpen:
                unreadable = deployment

    async def _session(
        self,
        workspace_id: WorkspaceId,
        session_id: SessionId,
        deployment: Deployment,
        tokens: Mapping[str, str] | None,
    ) -> SessionId | RunError:
        """Make the session, or say why there is none. Raises LogUnavailable."""
        tools = self._tools
        try:
            trouble = await trouble_of(tools.aggregates, tools.control_log, workspace_id, deployment)
            if trouble is not None:
                return trouble
            if tokens is None:
                _log.error("the tokens of a deployment cannot be read", extra={"deployment_id": deployment.id})
                return RunError(type="unknown_error", message=UNREADABLE_TEXT)
            command = await self._planner.plan(session_id, workspace_id, spec_of(deployment, tokens))
            decision = decide(None, command, Stamp(now_us=tools.clock.now_us(), seed=tools.ids.seed()))
        except Refused as refusal:
            return RunError(type="session_creation_rejected_error", message=refusal.message)
        except (LogError, BlobsUnavailable):
            raise
        except Exception as error:
            _log.error("a run failed", exc_info=error, extra={"deployment_id": deployment.id})
            return RunError(type="unknown_error", message=UNKNOWN_TEXT)
        if decision.record is None:
            raise RuntimeError("a new session without a record")
        try:
            await session_writing.begin(tools.session_log, tools.control_log, session_id, decision.record)
        except LogConflict:
            pass  # somebody else performs the same run
        except session_writing.SessionDeleted:
            await tools.attacher.drop_all(workspace_id, session_id)
        return session_id

    async def _was_made(self, session_id: SessionId) -> bool:
        """Whether the session of a run is there, or was."""
        log, control_log = self._tools.session_log, self._tools.control_log
        return bool(await log.last_sequence(session_id)) or await session_writing.was_deleted(control_log, session_id)

    async def _suspend(self, workspace_id: WorkspaceId, deployment: Deployment, error: RunError) -> None:
        """Stop the schedule of a deployment that would fail again; one without its agent is archived."""
        if error.type not in _PAUSING:
            return
        command = (
            ArchiveDeployment()
            if error.type == "agent_archived_error"
            else PauseDeployment(ErrorPause(error=PausingError.model_validate({"type": error.type})))
        )
        try:
            await DEPLOYMENTS.change(self._tools.aggregates, Actor(workspace_id), deployment.id, command)
        except Refused as refusal:  # archived in between
            _log.info("a deployment is not paused: %s", refusal.message, extra={"deployment_id": deployment.id})

    async def _change(
        self, workspace_id: WorkspaceId, run_id: DeploymentRunId, command: FinishRun | AbandonRun
    ) -> DeploymentRun:
        return await DEPLOYMENT_RUNS.change(self._tools.aggregates, Actor(workspace_id), run_id, command)


def _is_over(deployment: Deployment, run: DeploymentRun) -> bool:
    """Whether the run must not lead to a session any more. A pause for an error may be this very run's."""
    is_scheduled = isinstance(run.trigger_context, ScheduleTrigger)
    is_paused = isinstance(deployment.paused_reason, ManualPause)
    return deployment.archived_at is not None or (is_scheduled and is_paused)
