"""Deployments of requests: checked as a session of them would be, made, run, and shown with their times."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson

from efferent.common.control.aggregates import Actor
from efferent.common.control.deployments import DEPLOYMENTS
from efferent.common.deployments.firing import Firing, FiringTools
from efferent.common.deployments.spec import drafts_of
from efferent.common.deployments.troubles import resource_trouble
from efferent.common.domain import timestamp
from efferent.common.domain.attachments import ResourceSpec, check_distinct_stores, check_kinds, places
from efferent.common.domain.control.aggregate import UNSET, Change
from efferent.common.domain.control.deployment import (
    ARCHIVED_TEXT,
    DEPLOYMENT,
    ArchiveDeployment,
    CreateDeployment,
    DeploymentFields,
    UpdateDeployment,
    admit_scheduled,
    check_schedule,
    decide,
)
from efferent.common.domain.control.deployment_run import (
    DEPLOYMENT_RUN,
    FINISHED,
    TRIGGER_TYPE,
    StartRun,
    run_of_key,
)
from efferent.common.domain.control.schedule import upcoming
from efferent.common.domain.decide_client import check_takes_system_message
from efferent.common.domain.ids import DeploymentId, DeploymentRunId, EnvironmentId, SessionId, from_seed
from efferent.common.domain.refusals import InvalidRequest, NotFound, Refused
from efferent.common.domain.resources.deployment import (
    AgentReference,
    CronSchedule,
    Deployment,
    InitialEvent,
    ResourceConfig,
    SystemEvent,
    shown,
)
from efferent.common.domain.resources.deployment_run import DeploymentRun, ManualTrigger
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.usage import BudgetLimit
from efferent.common.session_creation import AgentChoice, SessionPlanner, SessionSpec
from efferent.gateway.context import GatewayContext
from efferent.gateway.control.deployment_params import (
    CreateDeploymentParams,
    UpdateDeploymentParams,
    agent_choice,
    initial_events,
    resource_configs,
    tokens_of,
)
from efferent.gateway.sessions.resource_params import resource_specs

_NO_SESSION = SessionId("sesn_0")
"""Stands for the session of a plan that is only checked."""


class GatewayDeployments:
    """Deployments on behalf of one caller."""

    def __init__(self, context: GatewayContext, actor: Actor) -> None:
        self._context = context
        self._actor = actor

    async def create(self, params: CreateDeploymentParams) -> Deployment:
        """Make a deployment that could make a session now. Raises InvalidRequest, NotFound, LogUnavailable."""
        specs = resource_specs(params.resources or ())
        schedule = params.schedule.schedule() if params.schedule is not None else None
        budget = params.budget.limit() if params.budget is not None else None
        events = initial_events(params.initial_events)
        await self._check_events(events)
        if schedule is not None:
            check_schedule(schedule)
        agent = await self._checked(
            agent_choice(params.agent), params.environment_id, tuple(params.vault_ids or ()), budget, specs, events
        )
        deployment_id = DeploymentId(from_seed("depl_", self._context.ids.seed()))
        command = CreateDeployment(
            id=deployment_id,
            name=params.name,
            agent=agent,
            environment_id=EnvironmentId(params.environment_id),
            initial_events=events,
            fields=DeploymentFields(
                description=params.description,
                schedule=schedule,
                resources=resource_configs(specs),
                tokens=await self._sealed(deployment_id, specs),
                vault_ids=tuple(params.vault_ids or ()),
                budget=budget,
                metadata=params.metadata or {},
            ),
        )
        try:
            return (await self._carried_out(deployment_id, command))[0]
        except Refused:
            await self._context.vaults.box.shred(deployment_id)
            raise

    async def update(self, deployment_id: str, params: UpdateDeploymentParams) -> Deployment:
        """Change what is mentioned. Raises InvalidRequest, NotFound, LogUnavailable."""
        current = await self.get(deployment_id)
        if current.archived_at is not None:
            raise InvalidRequest(ARCHIVED_TEXT)
        given = params.model_fields_set
        specs = resource_specs(params.resources or ())
        events = initial_events(params.initial_events) if "initial_events" in given else UNSET
        schedule = params.schedule.schedule() if params.schedule is not None else None
        budget = params.budget.limit() if params.budget is not None else None
        vault_ids = tuple(params.vault_ids or ())
        if events is not UNSET:
            await self._check_events(events)
        if schedule is not None:
            check_schedule(schedule)
        agent = current.agent
        has_system = events is not UNSET and any(isinstance(event, SystemEvent) for event in events)
        if has_system or given & {"agent", "environment_id", "vault_ids", "budget", "resources"}:
            agent = await self._checked(
                agent_choice(params.agent)
                if "agent" in given
                else AgentChoice(current.agent.id, current.agent.version),
                params.environment_id if "environment_id" in given else current.environment_id,
                vault_ids if "vault_ids" in given else current.vault_ids,
                budget if "budget" in given else current.budget,
                specs,
                current.initial_events if events is UNSET else events,
                kept=() if "resources" in given else current.resources,
            )
        tokens = await self._sealed(current.id, specs) if "resources" in given else None
        fields = DeploymentFields(
            name=params.name if "name" in given else UNSET,
            description=params.description if "description" in given else UNSET,
            agent=agent if "agent" in given else UNSET,
            environment_id=EnvironmentId(params.environment_id) if "environment_id" in given else UNSET,
            initial_events=events,
            schedule=schedule if "schedule" in given else UNSET,
            resources=resource_configs(specs) if "resources" in given else UNSET,
            tokens=tokens if "resources" in given else UNSET,
            vault_ids=vault_ids if "vault_ids" in given else UNSET,
            budget=budget if "budget" in given else UNSET,
            metadata=params.metadata or {},
        )
        box = self._context.vaults.box
        try:
            changed, before = await self._carried_out(deployment_id, UpdateDeployment(fields))
        except Refused:
            if tokens is not None:
                await box.destroy(deployment_id, tokens)
            raise
        # Only the key that was replaced: another request may just have made one that the log does not name yet.
        replaced = before.tokens if before is not None else None
        if replaced is not None and replaced != changed.tokens:
            await box.destroy(deployment_id, replaced)
        return changed

    async def archive(self, deployment_id: str) -> Deployment:
        """Make it read-only for good; its tokens become unreadable. Raises NotFound, LogUnavailable."""
        archived = await DEPLOYMENTS.change(self._context.aggregates, self._actor, deployment_id, ArchiveDeployment())
        if archived.tokens is not None:
            await self._context.vaults.box.shred(deployment_id)
        return archived

    async def run(self, deployment_id: str, idempotency_key: str | None) -> DeploymentRun:
        """Start one session now, or find the run that the same ``Idempotency-Key`` began; it says what came of it.

        Raises InvalidRequest, NotFound, LogUnavailable.
        """
        deployment = await self.get(deployment_id)
        if idempotency_key is None:
            run_id = DeploymentRunId(from_seed("drun_", self._context.ids.seed()))
        else:
            run_id = run_of_key(deployment.id, idempotency_key)
            known = (await self._context.aggregates.load(DEPLOYMENT_RUN, self._actor.workspace_id, run_id)).data
            if known is not None and known.is_finished:  # the same answer, whatever has become of the deployment
                return known
        if deployment.archived_at is not None:
            raise InvalidRequest("Cannot run archived deployment")
        firing = self._firing()
        await firing.start(self._actor, StartRun(run_id, deployment.id, deployment.agent, ManualTrigger()))
        run = await firing.perform(self._actor.workspace_id, run_id)
        if run is None:
            raise InvalidRequest("Cannot run archived deployment")
        return run

    async def get(self, deployment_id: str) -> Deployment:
        """A deployment as the log has it now. Raises NotFound, LogUnavailable."""
        return await DEPLOYMENTS.get(self._context.aggregates, self._actor.workspace_id, deployment_id)

    async def shown(self, deployment: Deployment) -> bytes:
        """The deployment as clients get it, with the times of its schedule. Raises Overloaded, LogUnavailable."""
        last = await self._last_runs([deployment.id] if deployment.schedule is not None else [])
        model = shown(
            deployment,
            last_run_at=last.get(deployment.id),
            upcoming_runs_at=self._upcoming(deployment.schedule, is_archived=deployment.archived_at is not None),
        )
        return model.model_dump_json().encode()

    async def with_times(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Deployments of a list, with the times of their schedules. Raises Overloaded, LogUnavailable."""
        found = [orjson.loads(body) for body in bodies]
        last = await self._last_runs([fields["id"] for fields in found if fields["schedule"] is not None])
        for fields in found:
            if fields["schedule"] is None:
                continue
            schedule = CronSchedule(
                expression=fields["schedule"]["expression"], timezone=fields["schedule"]["timezone"]
            )
            fields["schedule"]["last_run_at"] = last.get(fields["id"])
            fields["schedule"]["upcoming_runs_at"] = self._upcoming(
                schedule, is_archived=fields["archived_at"] is not None
            )
        return [orjson.dumps(fields) for fields in found]

    async def _carried_out(
        self, deployment_id: str, command: CreateDeployment | UpdateDeployment
    ) -> tuple[Deployment, Deployment | None]:
        """The deployment after the command and the one that it was decided on; schedules are limited as configured."""
        before: Deployment | None = None

        def decided(current: Deployment | None, now: Timestamp) -> Change[Deployment] | None:
            nonlocal before
            before = current
            return decide(current, command, now)

        admit = admit_scheduled(self._context.settings.scheduled_deployments_max)
        changed = await self._context.aggregates.execute(DEPLOYMENT, self._actor, deployment_id, decided, admit=admit)
        return changed, before

    async def _checked(
        self,
        agent: AgentChoice,
        environment_id: str,
        vault_ids: tuple[str, ...],
        budget: BudgetLimit | None,
        specs: Sequence[ResourceSpec],
        events: Sequence[InitialEvent],
        *,
        kept: Sequence[ResourceConfig] = (),
    ) -> AgentReference:
        """The agent at a concrete version, when a session could be made of all this now.

        Resources that are ``kept`` need not be there any more, but agent and environment have to take their kinds.
        """
        context, workspace_id = self._context, self._actor.workspace_id
        check_distinct_stores(specs)
        places(specs)
        planner = SessionPlanner(context.aggregates, context.models, context.attacher)
        spec = SessionSpec(agent=agent, environment_id=environment_id, vault_ids=vault_ids, budget=budget)
        plan = await planner.plan(_NO_SESSION, workspace_id, spec)
        for index, event in enumerate(events):
            if isinstance(event, SystemEvent):
                check_takes_system_message(plan.agent, f"initial_events[{index}]")
        check_kinds(
            [resource.type for resource in (*specs, *kept)], plan.agent, plan.environment_id, plan.environment_config
        )
        trouble = await resource_trouble(context.aggregates, workspace_id, resource_configs(specs))
        if trouble is not None:
            missing = trouble.type.endswith("_not_found_error")
            raise (
                NotFound(f"resources: {trouble.message}")
                if missing
                else InvalidRequest(f"resources: {trouble.message}")
            )
        return AgentReference(id=plan.agent.id, version=plan.agent.version)

    async def _check_events(self, events: Sequence[InitialEvent]) -> None:
        await self._context.attacher.check_sources(self._actor.workspace_id, drafts_of(events))

    async def _sealed(self, deployment_id: DeploymentId, specs: Sequence[ResourceSpec]) -> Sealed | None:
        tokens = tokens_of(specs)
        return await self._context.vaults.box.seal(deployment_id, tokens) if tokens else None

    async def _last_runs(self, deployment_ids: Sequence[str]) -> dict[str, Timestamp]:
        if not deployment_ids:
            return {}
        facets = {FINISHED: "true", TRIGGER_TYPE: "schedule"}
        return await self._context.control.newest_of_parents(DEPLOYMENT_RUN.name, deployment_ids, facets)

    def _upcoming(self, schedule: CronSchedule | None, *, is_archived: bool) -> tuple[Timestamp, ...]:
        if schedule is None or is_archived:
            return ()
        minute = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=self._context.clock.now_us() // 60_000_000)
        try:
            slots = upcoming(schedule.expression, schedule.timezone, minute)
        except InvalidRequest:  # a zone that the database does not have any more
            return ()
        return tuple(timestamp.from_datetime(slot) for slot in slots)

    def _firing(self) -> Firing:
        context = self._context
        return Firing(
            FiringTools(
                aggregates=context.aggregates,
                control_log=context.control_log,
                session_log=context.session_log,
                models=context.models,
                attacher=context.attacher,
                box=context.vaults.box,
                clock=context.clock,
                ids=context.ids,
            )
        )
