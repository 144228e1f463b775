"""Creating a session: what it pins is looked up, checked as a whole, and recorded with its first events at once."""

from efferent.common.domain.commands import CreateSession
from efferent.common.domain.control.agent import resolve_agent
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import (
    AgentId,
    EnvironmentId,
    SessionId,
    ThreadId,
    WorkspaceId,
    derive,
    from_seed,
    is_well_formed,
)
from efferent.common.domain.resources.agent import AgentSnapshot
from efferent.common.domain.resources.environment import Environment
from efferent.common.domain.state import SessionState
from efferent.common.ports import LogConflict
from efferent.gateway.context import GatewayContext
from efferent.gateway.control.agents import NoSuchVersion, get_agent
from efferent.gateway.control.environments import get_environment
from efferent.gateway.errors import Conflict, InvalidRequest, NotFound
from efferent.gateway.event_params import initial_drafts
from efferent.gateway.session_params import (
    AgentReferenceParams,
    AgentWithOverridesParams,
    CreateSessionParams,
    refuse_what_is_missing,
)
from efferent.gateway.session_services import SessionServices


async def create_session(
    context: GatewayContext,
    services: SessionServices,
    workspace_id: WorkspaceId,
    params: CreateSessionParams,
    idempotency_key: str | None,
) -> SessionState:
    """Make the session, or find the one that the same ``Idempotency-Key`` made. Raises what refuses the request."""
    refuse_what_is_missing(params)
    metadata = merged({}, params.metadata or {})
    events = initial_drafts(params.initial_events or ())
    agent = await _agent(context, workspace_id, params.agent)
    environment = await _environment(context, workspace_id, params.environment_id)
    session_id = await _session_id(services, workspace_id, idempotency_key)
    command = CreateSession(
        session_id=session_id,
        workspace_id=workspace_id,
        primary_thread_id=ThreadId(derive("sthr_", session_id, "primary")),
        agent=agent,
        environment_id=environment.id,
        environment_config=environment.config,
        title=params.title,
        metadata=metadata,
        initial_events=events,
    )
    try:
        return (await services.store.create(session_id, command)).decision.state
    except LogConflict:
        return (await services.store.load(session_id, workspace_id)).state


async def _session_id(services: SessionServices, workspace_id: WorkspaceId, idempotency_key: str | None) -> SessionId:
    if idempotency_key is None:
        return SessionId(from_seed("sesn_", services.ids.seed()))
    session_id = SessionId(derive("sesn_", workspace_id, "idempotency-key", idempotency_key))
    # The log takes a first record again after a purge; a session that was deleted must not come back.
    if await services.deletion.was_deleted(session_id):
        raise Conflict("The session that this Idempotency-Key made was deleted.")
    return session_id


async def _agent(
    context: GatewayContext,
    workspace_id: WorkspaceId,
    params: str | AgentReferenceParams | AgentWithOverridesParams,
) -> AgentSnapshot:
    agent_id, version = (params, None) if isinstance(params, str) else (params.id, params.version)
    if not is_well_formed("agent_", agent_id):
        raise InvalidRequest("Invalid agent ID.")
    try:
        agent = await get_agent(context, workspace_id, AgentId(agent_id), version)
    except NoSuchVersion as error:
        raise NotFound(f"agent.version: {version} not found") from error
    if agent.archived_at is not None:
        raise InvalidRequest(f"agent {agent_id} is archived and cannot be used to create a session")
    overrides = params.overrides(context.models) if isinstance(params, AgentWithOverridesParams) else None
    return resolve_agent(agent, overrides)


async def _environment(context: GatewayContext, workspace_id: WorkspaceId, environment_id: str) -> Environment:
    if not is_well_formed("env_", environment_id):
        raise InvalidRequest("Invalid environment ID.")
    environment = await get_environment(context, workspace_id, EnvironmentId(environment_id))
    if environment.archived_at is not None:
        raise InvalidRequest(
            f"Environment {environment_id} is archived.", details={"error_code": "environment_archived"}
        )
    return environment
