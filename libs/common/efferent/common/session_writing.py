"""Changing a session without keeping its state: fold its log, decide, append, and again when somebody was quicker.

Beginning one whose id is known beforehand is here too: the log takes a first record again after a purge, and a session
that was deleted must not come back.
"""

from typing import Final

from efferent.common.domain.commands import ClientCommand
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import SessionId
from efferent.common.domain.record import Record
from efferent.common.domain.state import SessionState
from efferent.common.jetstream import subjects
from efferent.common.ports import Clock, ControlLog, IdSource, LogConflict, SessionLog

TRIES_MAX: Final = 10


class SessionDeleted(Exception):
    """The session was there before, and its deletion has begun."""


async def was_deleted(control_log: ControlLog, session_id: SessionId) -> bool:
    """Whether the session's deletion has begun. Raises LogUnavailable."""
    return await control_log.last(subjects.tombstone(session_id)) is not None


async def begin(log: SessionLog, control_log: ControlLog, session_id: SessionId, record: Record) -> int:
    """Append the first record of a session whose id others may know; returns its sequence.

    Raises SessionDeleted, LogConflict when the session is there, LogUnavailable.
    """
    if await was_deleted(control_log, session_id):
        raise SessionDeleted(session_id)
    sequence = await log.append(session_id, "in", record, expected=0)
    # A deletion may have come to its end just before: its tombstone is older than the purge that made room here.
    if await was_deleted(control_log, session_id):
        await log.purge(session_id)
        raise SessionDeleted(session_id)
    return sequence


async def folded(log: SessionLog, session_id: SessionId) -> tuple[SessionState | None, int]:
    """The session and the sequence of its last record; None when it is gone. Raises LogUnavailable."""
    state: SessionState | None = None
    sequence = 0
    async for stored in log.read(session_id):
        state, sequence = fold(state, (stored.record,)), stored.sequence
    return state, sequence


async def execute(
    log: SessionLog, session_id: SessionId, command: ClientCommand, clock: Clock, ids: IdSource
) -> SessionState | None:
    """Carry out a command on a session; None when it is gone. Raises Refused, LogUnavailable, LogConflict."""
    for attempt in range(TRIES_MAX):
        state, sequence = await folded(log, session_id)
        if state is None or state.deleted:
            return None
        decision = decide(state, command, Stamp(now_us=clock.now_us(), seed=ids.seed()))
        if decision.record is None:
            return state
        try:
            await log.append(session_id, "in", decision.record, expected=sequence)
        except LogConflict:
            if attempt == TRIES_MAX - 1:
                raise
            continue
        return decision.state
    return None
