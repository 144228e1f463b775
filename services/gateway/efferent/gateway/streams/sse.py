"""Server-sent events: one response that stays open and writes what its reader gets."""

import asyncio
import contextlib
from typing import Final

from aiohttp import web

from efferent.common.domain.ids import SessionId
from efferent.common.ports import LogUnavailable
from efferent.gateway.access.key_ring import keys_of
from efferent.gateway.context import REQUEST_ID, caller_of
from efferent.gateway.errors import InvalidRequest, NotFound, Unauthenticated, envelope
from efferent.gateway.sessions.public_events import Position, parse_position
from efferent.gateway.streams.live import LiveHub
from efferent.gateway.streams.live_reader import Reader
from efferent.gateway.work.services import work_of

HEARTBEAT_S: Final = 8.0
"""Silence after which a heartbeat is written; clients may count on 10 s."""
STALL_S: Final = 60.0
"""How long a client may take nothing before its connection is given up."""
PREVIEW_TYPES: Final = ("agent.message", "agent.thinking")
PREVIEW_VALUES_MAX: Final = 100
LAST_EVENT_ID_TEXT: Final = "Last-Event-ID: not the id of an event of this stream"

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}

_ERROR_FRAME: Final = b"event: error\ndata: %b\n\n"


def preview_types(request: web.Request) -> frozenset[str]:
    """Which events the client wants to see in the making. Raises InvalidRequest that names ``event_deltas``."""
    values = [*request.query.getall("event_deltas[]", []), *request.query.getall("event_deltas", [])]
    if len(values) > PREVIEW_VALUES_MAX:
        raise InvalidRequest(f"event_deltas: at most {PREVIEW_VALUES_MAX} values are allowed")
    for index, value in enumerate(values):
        if value not in PREVIEW_TYPES:
            expected = ", ".join(f'"{known}"' for known in PREVIEW_TYPES)
            raise InvalidRequest(f'event_deltas[{index}]: "{value}" is not a valid value; expected one of {expected}')
    return frozenset(values)


def resume_position(request: web.Request) -> Position | None:
    """Where a client that was cut off wants to go on. Raises InvalidRequest for an id that is not ours."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return None
    position = parse_position(text)
    if position is None:
        raise InvalidRequest(LAST_EVENT_ID_TEXT)
    return position


async def stream(
    request: web.Request, hub: LiveHub, session_id: SessionId, thread: str | None, *, heartbeat_s: float = HEARTBEAT_S
) -> web.StreamResponse:
    """Answer with the session's events of one thread as they are committed, until the client leaves or all is told.

    A stream whose key is revoked, or whose sessions token ends, ends at once with an error event that says so.
    """
    wanted, resume = preview_types(request), resume_position(request)
    reader = await hub.open(session_id, thread, wanted)
    try:
        # Asked for after the reader was registered: what this does not count, the reader sees.
        opened_at = await hub.log.last_sequence(session_id)
        if opened_at == 0:
            raise NotFound("Session not found.")
        if resume is not None and resume.sequence > opened_at:
            raise InvalidRequest(LAST_EVENT_ID_TEXT)
        if resume is not None:
            reader.resume_after(resume, opened_at)
        else:
            reader.start_after(opened_at)
        response = web.StreamResponse(headers=_HEADERS)
        caller = caller_of(request)
        with (
            contextlib.suppress(ConnectionResetError, LogUnavailable, TimeoutError),
            keys_of(request).while_valid(caller.key_id, reader.cut),
        ):
            await response.prepare(request)
            async with work_of(request).while_live(caller.principal, reader.cut):
                await _write(response, reader, heartbeat_s)
            if reader.is_cut:
                async with asyncio.timeout(STALL_S):
                    await response.write(_ERROR_FRAME % envelope(Unauthenticated(), request[REQUEST_ID]))
            await response.write_eof()
        return response
    finally:
        await hub.close(reader)


async def _write(response: web.StreamResponse, reader: Reader, heartbeat_s: float) -> None:
    async with contextlib.aclosing(reader.chunks(heartbeat_s)) as chunks:
        async for chunk in chunks:
            async with asyncio.timeout(STALL_S):
                await response.write(chunk)
