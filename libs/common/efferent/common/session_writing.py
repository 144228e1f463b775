"""Changing a session without keeping its state: fold its log, decide, append, and again when somebody was quicker."""

from typing import Final

from efferent.common.domain.commands import ClientCommand
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Stamp
from efferent.common.domain.evolve import fold
from efferent.common.domain.ids import SessionId
from efferent.common.domain.state import SessionState
from efferent.common.ports import Clock, IdSource, LogConflict, SessionLog

TRIES_MAX: Final = 10


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
