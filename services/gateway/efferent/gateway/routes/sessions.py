"""``/v1/sessions``: create, list, retrieve, update, archive, delete."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web

from efferent.common.domain import ids
from efferent.common.domain.commands import (
    AgentPatch,
    ArchiveSession,
    DeleteSession,
    SetBudget,
    SetTitle,
    UpdateSession,
)
from efferent.common.domain.control.agent import resolve_agent
from efferent.common.domain.control.aggregate import UNSET
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import AgentId
from efferent.common.domain.resources.session import session_of
from efferent.common.domain.state import SessionState
from efferent.common.domain.timestamp import from_epoch_us
from efferent.common.ports import BlobsUnavailable, LogUnavailable
from efferent.common.session_creation import check_budgetable
from efferent.gateway import cursors
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.request_body import read_body
from efferent.gateway.responses import json_bytes, json_page, json_resource
from efferent.gateway.routes.events import session_id_of
from efferent.gateway.routes.threads import STATUSES
from efferent.gateway.sessions.creation import create_session
from efferent.gateway.sessions.deletion import NotReleased
from efferent.gateway.sessions.params import (
    CreateSessionParams,
    SessionAgentParams,
    UpdateSessionParams,
    refuse_what_cannot_change,
)
from efferent.gateway.sessions.projected import Deletion, SessionQuery, TimeRange
from efferent.gateway.sessions.services import SessionServices, sessions_of
from efferent.gateway.validation import (
    check_query,
    idempotency_key_of,
    parse_body,
    query_bool,
    query_int,
    query_limit,
    query_list,
    query_order,
    query_times,
)

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 1_000
_CURSOR_KIND: Final = "sessions"
_FILTERS: Final = ("agent_id", "agent_version", "deployment_id", "memory_store_id", "include_archived")

_log = logging.getLogger(__name__)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    one = "/v1/sessions/{session_id}"
    return [
        web.post("/v1/sessions", create),
        web.get("/v1/sessions", list_sessions),
        web.get(one, retrieve),
        web.post(one, update),
        web.delete(one, delete),
        web.post(f"{one}/archive", archive),
    ]


async def create(request: web.Request) -> web.Response:
    """A new session with everything it pins."""
    context = context_of(request)
    params = parse_body(CreateSessionParams, await read_body(request, context.settings.body_bytes_max))
    state = await create_session(
        context, sessions_of(request), caller_of(request).workspace_id, params, idempotency_key_of(request)
    )
    return _answer(sessions_of(request), state)


async def retrieve(request: web.Request) -> web.Response:
    """The session as the log has it now."""
    services = sessions_of(request)
    session = await services.store.load(session_id_of(request), caller_of(request).workspace_id)
    return _answer(services, session.state)


async def list_sessions(request: web.Request) -> web.Response:
    """A page of the workspace's sessions."""
    query = _list_query(request)
    services = sessions_of(request)
    # A deletion removes its own record from the log: only its tombstone tells a gateway that missed it.
    await asyncio.gather(services.reach_end(), context_of(request).control.catch_up())
    await services.projection.settle()
    found = list(await services.projection.sessions(query))
    has_more = len(found) >= query.limit
    if has_more:
        found.pop(0 if query.backwards else -1)
    has_next = bool(found) and (query.backwards or has_more)
    has_prev = bool(found) and query.after is not None and (not query.backwards or has_more)
    now = from_epoch_us(services.clock.now_us())
    return json_page(
        [session_of(session.state, now).model_dump_json().encode() for session in found],
        next_page=_cursor(query, found[-1].state, "next") if has_next else None,
        prev_page=_cursor(query, found[0].state, "prev") if has_prev else None,
    )


async def update(request: web.Request) -> web.Response:
    """Change title, metadata, or the agent's tools and MCP servers."""
    context, services = context_of(request), sessions_of(request)
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    params = parse_body(UpdateSessionParams, await read_body(request, context.settings.body_bytes_max))
    refuse_what_cannot_change(params)
    _check_metadata_patch(params.metadata or {})
    patch = None
    if params.agent is not None or params.budget is not None:
        state = (await services.store.load(session_id, workspace_id)).state
        if params.agent is not None:
            patch = _agent_patch(state, params.agent)
        if params.budget is not None and state.budget is not None:  # the price may be gone since it was created
            check_budgetable(context.models, state.agent.model.id)
    command = UpdateSession(
        title=SetTitle(params.title) if "title" in params.model_fields_set else None,
        metadata=params.metadata,
        agent=patch,
        budget=_budget_change(params),
    )
    executed = await services.store.execute(session_id, workspace_id, command)
    return _answer(services, executed.decision.state)


async def archive(request: web.Request) -> web.Response:
    """Make the session read-only for good."""
    services = sessions_of(request)
    executed = await services.store.execute(session_id_of(request), caller_of(request).workspace_id, ArchiveSession())
    return _answer(services, executed.decision.state)


async def delete(request: web.Request) -> web.Response:
    """Remove the session and everything of it."""
    services = sessions_of(request)
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    executed = await services.store.execute(session_id, workspace_id, DeleteSession())
    record = executed.decision.record
    if record is not None:
        last = record.entries[-1].event.model_dump_json().encode()
        try:
            await services.deletion.carry_out(Deletion(session_id, workspace_id, executed.sequence, last))
        except (LogUnavailable, BlobsUnavailable, NotReleased) as error:
            # The session is deleted: its last event says so, and what is left to do is done later.
            _log.warning("a deletion is not finished: %s", error, extra={"session_id": session_id})
    return json_bytes(orjson.dumps({"id": session_id, "type": "session_deleted"}))


def _answer(services: SessionServices, state: SessionState) -> web.Response:
    return json_resource(session_of(state, from_epoch_us(services.clock.now_us())))


def _check_metadata_patch(patch: Mapping[str, str | None]) -> None:
    merged({}, {key: value for key, value in patch.items() if value is not None})


def _agent_patch(state: SessionState, params: SessionAgentParams) -> AgentPatch:
    """What changes of the agent, checked as an agent is. Raises InvalidRequest."""
    overrides = params.overrides()
    resolve_agent(state.agent, overrides)
    return AgentPatch(
        tools=None if overrides.tools is UNSET else overrides.tools,
        mcp_servers=None if overrides.mcp_servers is UNSET else overrides.mcp_servers,
    )


def _budget_change(params: UpdateSessionParams) -> SetBudget | None:
    if "budget" not in params.model_fields_set:
        return None
    return SetBudget(params.budget.limit() if params.budget is not None else None)


def _list_query(request: web.Request) -> SessionQuery:
    check_query(request, "limit", "page", "order", *_FILTERS)
    agent_id = request.query.get("agent_id") or None
    if agent_id is not None and not ids.is_well_formed("agent_", agent_id):
        raise InvalidRequest("Invalid agent ID.")
    agent_version = query_int(request, "agent_version", low=1, high=2**53)
    if agent_version is not None and agent_id is None:
        raise InvalidRequest("agent_version: only allowed together with agent_id")
    order = query_order(request, "desc")
    created_at = TimeRange(**query_times(request, "created_at"))
    workspace_id = caller_of(request).workspace_id
    after, backwards = None, False
    if text := request.query.get("page"):
        cursor = cursors.read(text, kind=_CURSOR_KIND, workspace_id=workspace_id, order=order, width=2)
        match cursor.position:
            case (str(moment), str(session_id)):
                after, backwards = (moment, session_id), cursor.direction == "prev"
            case _:
                raise InvalidRequest(cursors.INVALID_TEXT)
        if not created_at.holds(moment):
            raise InvalidRequest("page: the created_at filter excludes the position of the page cursor")
    return SessionQuery(
        workspace_id=workspace_id,
        order=order,
        limit=query_limit(request, default=LIMIT_DEFAULT, high=LIMIT_MAX) + 1,
        after=after,
        backwards=backwards,
        agent_id=AgentId(agent_id) if agent_id is not None else None,
        agent_version=agent_version,
        deployment_id=request.query.get("deployment_id") or None,
        memory_store_id=_memory_store_id(request),
        statuses=frozenset(query_list(request, "statuses", allowed=STATUSES)),
        include_archived=query_bool(request, "include_archived"),
        created_at=created_at,
    )


def _memory_store_id(request: web.Request) -> str | None:
    text = request.query.get("memory_store_id") or None
    if text is not None and not ids.is_well_formed("memstore_", text):
        raise InvalidRequest("Invalid memory store ID.")
    return text


def _cursor(query: SessionQuery, state: SessionState, direction: cursors.Direction) -> str:
    place = cursors.Cursor((state.created_at, state.session_id), direction)
    return cursors.write(place, kind=_CURSOR_KIND, workspace_id=query.workspace_id, order=query.order)
