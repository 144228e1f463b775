"""Pages of a session's events. Positions come from the projection where a filter or a falling order needs them.

The plain list (rising, no filter) is read from the log alone. A page shows the session at one moment: nothing after the
sequence that its state was folded to. Events that still wait to be taken in follow the last page, with ``processed_at``
null; they have no position, so a page with other events on it may have to leave them to one more page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from efferent.common.domain.events import InputQueued, RequestAccepted
from efferent.common.domain.events.user import QueuedInput
from efferent.common.domain.ids import EventId, SessionId
from efferent.common.ports import SessionLog
from efferent.gateway.sessions.projected import EventQuery, Folded
from efferent.gateway.sessions.projection import SessionProjection
from efferent.gateway.sessions.public_events import BEFORE_ALL, DELETED, Position, PublicEvent, events_of_stored


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page: the JSON of its events, and the last one when more follow."""

    events: tuple[bytes, ...]
    next_after: PublicEvent | None


async def read_page(log: SessionLog, projection: SessionProjection, session: Folded, query: EventQuery) -> EventPage:
    """The page of the query. Raises ProjectionBehind, LogUnavailable."""
    wanted = replace(query, limit=query.limit + 1, until=session.sequence)
    if query.order == "asc" and not query.types and query.processed_at.is_open:
        found = await _scan(log, wanted)
    else:
        await projection.reach(session.sequence)
        found = await _bodies(log, query.session_id, await projection.positions(wanted))
    if len(found) > query.limit:
        page = found[: query.limit]
        return EventPage(tuple(event.json() for event in page), page[-1])
    queued = _queued(session, query)
    if found and len(found) + len(queued) > query.limit:
        return EventPage(tuple(event.json() for event in found), found[-1])
    return EventPage((*(event.json() for event in found), *queued), None)


async def first_answer(log: SessionLog, session_id: SessionId, event_ids: Sequence[EventId]) -> tuple[bytes, ...]:
    """The events of an earlier request, as it was answered. Raises LogUnavailable."""
    wanted = set(event_ids)
    async for stored in log.read(session_id):
        entries = stored.record.entries
        if not any(isinstance(entry.event, RequestAccepted) for entry in entries):
            continue
        events = [entry.event.event if isinstance(entry.event, InputQueued) else entry.event for entry in entries]
        found = {event.id: event.model_dump_json().encode() for event in events if event.id in wanted}
        if found:
            return tuple(found[event_id] for event_id in event_ids if event_id in found)
    return ()


async def _scan(log: SessionLog, query: EventQuery) -> list[PublicEvent]:
    after = query.after or BEFORE_ALL
    found: list[PublicEvent] = []
    start = max(0, after.sequence - 1)
    if start >= query.until:
        return found
    async for stored in log.read(query.session_id, after=start, reach=query.until):
        if stored.sequence > query.until:
            break
        found.extend(
            event
            for event in events_of_stored(stored)
            if event.thread == query.thread and event.position > after and event.type != DELETED
        )
        if len(found) >= query.limit:
            break
    return found[: query.limit]


async def _bodies(log: SessionLog, session_id: SessionId, positions: Sequence[Position]) -> list[PublicEvent]:
    if not positions:
        return []
    wanted = set(positions)
    first, last = min(wanted).sequence, max(wanted).sequence
    found = {}
    async for stored in log.read(session_id, after=first - 1, reach=last):
        for event in events_of_stored(stored):
            if event.position in wanted:
                found[event.position] = event
        if stored.sequence >= last:
            break
    return [found[position] for position in positions if position in found]


def _queued(session: Folded, query: EventQuery) -> tuple[bytes, ...]:
    if query.thread is not None or not query.processed_at.is_open:
        return ()
    queue: Sequence[QueuedInput] = session.state.queue
    return tuple(item.model_dump_json().encode() for item in queue if not query.types or item.type in query.types)
