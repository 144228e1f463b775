"""``/v1/sessions/{session_id}/threads``. In this release every session has its primary thread and no other."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from efferent.common.domain import ids
from efferent.common.domain.commands import ArchiveThread
from efferent.common.domain.ids import ThreadId
from efferent.common.domain.resources.session import primary_thread_of
from efferent.common.domain.timestamp import from_epoch_us
from efferent.gateway import cursors
from efferent.gateway.context import caller_of
from efferent.gateway.errors import InvalidRequest, NotFound
from efferent.gateway.responses import json_page, json_resource
from efferent.gateway.routes.events import LIMIT_MAX, event_page, session_id_of
from efferent.gateway.sessions.projected import EventQuery, Folded
from efferent.gateway.sessions.services import SessionServices, sessions_of
from efferent.gateway.streams import sse
from efferent.gateway.validation import check_query, query_limit, query_list

STATUSES: Final = ("rescheduling", "running", "idle", "terminated")
NOT_FOUND_TEXT: Final = "Session thread not found."


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    one = "/v1/sessions/{session_id}/threads/{thread_id}"
    return [
        web.get("/v1/sessions/{session_id}/threads", list_threads),
        web.get(one, retrieve),
        web.get(f"{one}/events", list_events),
        web.get(f"{one}/stream", stream, allow_head=False),
        web.post(f"{one}/archive", archive),
    ]


async def list_threads(request: web.Request) -> web.Response:
    """The session's threads, the primary one first."""
    check_query(request, "limit", "page")
    query_limit(request, default=LIMIT_MAX, high=LIMIT_MAX)
    statuses = query_list(request, "statuses", allowed=STATUSES)
    if request.query.get("page"):
        raise InvalidRequest(cursors.INVALID_TEXT)  # one thread never makes a second page
    services = sessions_of(request)
    session = await services.store.load(session_id_of(request), caller_of(request).workspace_id)
    thread = primary_thread_of(session.state, from_epoch_us(services.clock.now_us()))
    shown = [thread.model_dump_json().encode()] if not statuses or thread.status in statuses else []
    return json_page(shown, next_page=None)


async def retrieve(request: web.Request) -> web.Response:
    """One thread."""
    services, session = await _primary(request)
    return json_resource(primary_thread_of(session.state, from_epoch_us(services.clock.now_us())))


async def list_events(request: web.Request) -> web.Response:
    """A page of the thread's history, in the order of appending."""
    check_query(request, "limit", "page")
    limit = query_limit(request, default=LIMIT_MAX, high=LIMIT_MAX)
    services, session = await _primary(request)
    query = EventQuery(session_id=session.state.session_id, thread=None, order="asc", limit=limit)
    return await event_page(request, services, session, query, caller_of(request).workspace_id)


async def stream(request: web.Request) -> web.StreamResponse:
    """The thread's events as they are committed."""
    services, session = await _primary(request)
    return await sse.stream(request, services.hub, session.state.session_id, None)


async def archive(request: web.Request) -> web.Response:
    """Archive an idle thread; the primary thread goes with its session."""
    session_id, thread_id = session_id_of(request), _thread_id_of(request)
    services = sessions_of(request)
    command = ArchiveThread(thread_id)
    executed = await services.store.execute(session_id, caller_of(request).workspace_id, command)
    return json_resource(primary_thread_of(executed.decision.state, from_epoch_us(services.clock.now_us())))


async def _primary(request: web.Request) -> tuple[SessionServices, Folded]:
    session_id, thread_id = session_id_of(request), _thread_id_of(request)
    services = sessions_of(request)
    session = await services.store.load(session_id, caller_of(request).workspace_id)
    if session.state.primary_thread_id != thread_id:
        raise NotFound(NOT_FOUND_TEXT)
    return services, session


def _thread_id_of(request: web.Request) -> ThreadId:
    text = request.match_info["thread_id"]
    if not ids.is_well_formed("sthr_", text):
        raise InvalidRequest("Invalid session thread ID.")
    return ThreadId(text)
