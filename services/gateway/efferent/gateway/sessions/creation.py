"""Creating a session: what a client asks for, planned as a whole, and recorded with its first events at once."""

import contextlib
from typing import Final

from efferent.common.domain.ids import SessionId, WorkspaceId, derive, from_seed
from efferent.common.domain.refusals import Refused
from efferent.common.domain.state import SessionState
from efferent.common.ports import LogConflict
from efferent.common.session_creation import AgentChoice, SessionPlanner, SessionSpec
from efferent.gateway.context import GatewayContext
from efferent.gateway.errors import Conflict, NotFound
from efferent.gateway.sessions.event_params import initial_drafts
from efferent.gateway.sessions.params import (
    AgentReferenceParams,
    AgentWithOverridesParams,
    CreateSessionParams,
)
from efferent.gateway.sessions.resource_params import resource_specs
from efferent.gateway.sessions.services import SessionServices

DELETED_TEXT: Final = "The session that this Idempotency-Key made was deleted."


async def create_session(
    context: GatewayContext,
    services: SessionServices,
    workspace_id: WorkspaceId,
    params: CreateSessionParams,
    idempotency_key: str | None,
) -> SessionState:
    """Make the session, or find the one that the same ``Idempotency-Key`` made. Raises what refuses the request."""
    spec = SessionSpec(
        agent=_agent(context, params.agent),
        environment_id=params.environment_id,
        title=params.title,
        metadata=params.metadata or {},
        vault_ids=tuple(params.vault_ids or ()),
        resources=resource_specs(params.resources or ()),
        budget=params.budget.limit() if params.budget is not None else None,
        initial_events=initial_drafts(params.initial_events or ()),
    )
    session_id = await _session_id(services, workspace_id, idempotency_key)
    if idempotency_key is not None:  # the same answer, whatever has become of what the session was made of
        with contextlib.suppress(NotFound):
            return (await services.store.load(session_id, workspace_id)).state
    planner = SessionPlanner(context.aggregates, context.models, context.attacher)
    try:
        command = await planner.plan(session_id, workspace_id, spec)
        made = await services.store.create(session_id, command)
    except LogConflict:
        return (await services.store.load(session_id, workspace_id)).state
    except (Refused, OSError):
        # What was made for the session must not outlive it. Under an Idempotency-Key the same is made by the next try.
        if spec.resources and idempotency_key is None:
            await context.attacher.drop_all(workspace_id, session_id)
        raise
    if idempotency_key is not None and await services.deletion.take_back(session_id):  # deleted in this very moment
        raise Conflict(DELETED_TEXT)
    return made.decision.state


def _agent(context: GatewayContext, params: str | AgentReferenceParams | AgentWithOverridesParams) -> AgentChoice:
    match params:
        case str():
            return AgentChoice(params)
        case AgentReferenceParams():
            return AgentChoice(params.id, params.version)
        case AgentWithOverridesParams():
            return AgentChoice(params.id, params.version, params.overrides(context.models))


async def _session_id(services: SessionServices, workspace_id: WorkspaceId, idempotency_key: str | None) -> SessionId:
    if idempotency_key is None:
        return SessionId(from_seed("sesn_", services.ids.seed()))
    session_id = SessionId(derive("sesn_", workspace_id, "idempotency-key", idempotency_key))
    # The log takes a first record again after a purge; a session that was deleted must not come back.
    if await services.deletion.was_deleted(session_id):
        raise Conflict(DELETED_TEXT)
    return session_id
