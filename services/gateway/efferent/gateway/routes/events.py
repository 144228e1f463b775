"""``/v1/sessions/{session_id}/events``: send, list, stream."""

from collections.abc import Sequence
from typing import Final, get_args

from aiohttp import web

from efferent.common.domain.commands import SendEvents
from efferent.common.domain.events import PublicEvent as AnyPublicEvent
from efferent.common.domain.ids import SessionId, WorkspaceId, parse_session_id
from efferent.common.files.sources import check_sources
from efferent.gateway import cursors
from efferent.gateway.access.authorisation import check_sent_types
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.request_body import read_body
from efferent.gateway.responses import json_page
from efferent.gateway.sessions.event_list import first_answer, read_page
from efferent.gateway.sessions.event_params import SendEventsParams, drafts
from efferent.gateway.sessions.projected import EventQuery, Folded, TimeRange
from efferent.gateway.sessions.public_events import Position
from efferent.gateway.sessions.services import SessionServices, sessions_of
from efferent.gateway.streams import sse
from efferent.gateway.validation import (
    check_query,
    idempotency_key_of,
    parse_body,
    query_limit,
    query_list,
    query_order,
    query_times,
)

LIMIT_MAX: Final = 1_000
LISTABLE_TYPES: Final = tuple(
    sorted(
        event.model_fields["type"].default
        for event in get_args(AnyPublicEvent)
        if event.model_fields["type"].default != "session.deleted"
    )
)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/sessions/{session_id}/events", send),
        web.get("/v1/sessions/{session_id}/events", list_events),
        web.get("/v1/sessions/{session_id}/events/stream", stream, allow_head=False),
    ]


async def send(request: web.Request) -> web.Response:
    """Accept client events, all of them or none."""
    session_id = session_id_of(request)
    params = parse_body(SendEventsParams, await read_body(request, context_of(request).settings.body_bytes_max))
    check_sent_types(request, [event.type for event in params.events])
    workspace_id, services = caller_of(request).workspace_id, sessions_of(request)
    command = SendEvents(drafts(params.events), idempotency_key=idempotency_key_of(request))
    await check_sources(context_of(request).file_services.files, workspace_id, command.events, "events")
    executed = await services.store.execute(session_id, workspace_id, command)
    decision = executed.decision
    if decision.repeats:
        return json_page(await first_answer(services.log, session_id, decision.repeats))
    return json_page([echo.model_dump_json().encode() for echo in decision.echoes])


async def list_events(request: web.Request) -> web.Response:
    """A page of the session's history."""
    check_query(request, "limit", "page", "order")
    types = frozenset(query_list(request, "types", allowed=LISTABLE_TYPES))
    times = TimeRange(**query_times(request, "created_at"))
    order = query_order(request, "asc")
    session_id, workspace_id = session_id_of(request), caller_of(request).workspace_id
    services = sessions_of(request)
    session = await services.store.load(session_id, workspace_id)
    query = EventQuery(
        session_id=session_id,
        thread=None,
        order=order,
        limit=query_limit(request, default=LIMIT_MAX, high=LIMIT_MAX),
        types=types,
        processed_at=times,
    )
    return await event_page(request, services, session, query, workspace_id)


async def event_page(
    request: web.Request, services: SessionServices, session: Folded, query: EventQuery, workspace_id: WorkspaceId
) -> web.Response:
    """Answer with the page that the request's cursor means. Raises InvalidRequest for a cursor that does not fit."""
    kind = f"events/{query.session_id}/{query.thread or ''}"
    text = request.query.get("page")
    if text:
        cursor = cursors.read(text, kind=kind, workspace_id=workspace_id, order=query.order, width=3)
        match cursor.position:
            case (int(sequence), int(entry), str(processed_at)):
                if not query.processed_at.holds(processed_at):
                    raise InvalidRequest("page: the created_at filter excludes the position of the page cursor")
                query = query.starting_after(Position(sequence, entry))
            case _:
                raise InvalidRequest(cursors.INVALID_TEXT)
    page = await read_page(services.log, services.projection, session, query)
    last = page.next_after
    next_page = None
    if last is not None:
        place = cursors.Cursor((*last.position, last.processed_at))
        next_page = cursors.write(place, kind=kind, workspace_id=workspace_id, order=query.order)
    return json_page(page.events, next_page=next_page)


async def stream(request: web.Request) -> web.StreamResponse:
    """The session's events as they are committed."""
    session_id = session_id_of(request)
    services = sessions_of(request)
    await services.store.known(session_id, caller_of(request).workspace_id)
    return await sse.stream(request, services.hub, session_id, None)


def session_id_of(request: web.Request) -> SessionId:
    """The session of the path, in either accepted prefix. Raises InvalidRequest."""
    session_id = parse_session_id(request.match_info["session_id"])
    if session_id is None:
        raise InvalidRequest("Invalid session ID.")
    return session_id
